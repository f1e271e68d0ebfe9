// Pulls from a real registry: what comes of each way in which they go wrong.
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { seconds } from "../../src/lib/duration.ts";
import { silent } from "../../src/platform/log.ts";
import { createPulls } from "../../src/projects/reconcile/pulls.ts";
import { docker, engine, missing, until } from "../support/docker.ts";
import { type Registry, basic, missingRegistry, startRegistry } from "../support/registry.ts";

setDefaultTimeout(150_000);

const signal = new AbortController().signal;
const idle = seconds(20);
const login = { username: "ada", password: "s3cret:with colon" };
const nothing = (): void => {};

describe.skipIf(missing !== undefined || missingRegistry !== undefined)(
  "a pull (needs Docker, docker-registry)",
  () => {
    let registry: Registry;
    beforeAll(async () => {
      registry = await startRegistry();
    });
    afterAll(() => registry[Symbol.asyncDispose]());

    test("brings the image and tells how far it is", async () => {
      const image = await registry.push("good:1", 1_000_000);
      const own = engine();
      const progress: string[] = [];
      registry.fault = "trickle";
      await own.pull(image, ({ text }) => progress.push(text), idle, signal);
      registry.fault = "none";
      expect((await own.snapshot(signal)).images).toContain(image);
      expect(progress.some((text) => /^\d+(\.\d)? of \d+(\.\d)? MB$/.test(text))).toBe(true);
      expect(progress.at(-1)).toBe("extracting");
    });

    test("by digest brings what is looked for", async () => {
      const image = await registry.push("digest:1");
      await engine().pull(image, nothing, idle, signal);
      const [byDigest = ""] = JSON.parse(await docker("inspect", "--format", "{{json .RepoDigests}}", image));
      await docker("image", "rm", image);
      await engine().pull(byDigest, nothing, idle, signal);
      expect((await engine().snapshot(signal)).images).toContain(byDigest);
      await docker("image", "rm", "--force", byDigest);
    });

    test("of a tag or a name that does not exist is unknown", async () => {
      const image = await registry.push("tagged:1");
      for (const wrong of [image.replace(/1$/, "nope"), `${registry.host}/nobody/has-this:1`])
        expect(await failure(engine().pull(wrong, nothing, idle, signal))).toMatchObject({
          code: "pull.unknown",
          message: expect.stringMatching(/manifest unknown|name unknown|not found/),
        });
    });

    test("from a registry that is not there fails with its address", async () => {
      expect(await failure(engine().pull("127.0.0.1:1/app:1", nothing, idle, signal))).toMatchObject({
        code: "pull.failed",
        message: expect.stringContaining("127.0.0.1:1"),
      });
    });

    test("that is spoilt on its way fails with the error from inside the stream", async () => {
      const image = await registry.push("spoilt:1", 300_000);
      registry.fault = "spoil";
      const error = await failure(engine().pull(image, nothing, idle, signal));
      registry.fault = "none";
      expect(error).toMatchObject({
        code: "pull.failed",
        message: expect.stringContaining("verification failed"),
      });
      expect((await engine().snapshot(signal)).images).not.toContain(image);
    });

    test("during which nothing happens is given up, and the next one gets it", async () => {
      const image = await registry.push("stalled:1", 300_000);
      registry.fault = "stall";
      const error = await failure(engine().pull(image, nothing, seconds(1), signal));
      registry.fault = "none";
      expect(error).toMatchObject({ code: "pull.stalled", message: "nothing happened for 1s" });
      await engine().pull(image, nothing, idle, signal);
    });

    test("ends at once when it is aborted", async () => {
      const image = await registry.push("aborted:1", 300_000);
      registry.fault = "stall";
      const caller = new AbortController();
      const progress: string[] = [];
      const pulling = failure(engine().pull(image, ({ text }) => progress.push(text), idle, caller.signal));
      await until("it has begun", () => progress.length > 0);
      const started = Date.now();
      caller.abort();
      expect(await pulling).toMatchObject({ code: "aborted" });
      expect(Date.now() - started).toBeLessThan(seconds(20));
      registry.fault = "none";
    });

    test("is made once for all that ask at the same time", async () => {
      const image = await registry.push("shared:1");
      const before = registry.manifests();
      const pulls = createPulls({ engine: engine(), parallel: 3, idle, log: silent });
      for (let n = 0; n < 10; n++) pulls.request(image);
      await until("it is pulled", () => pulls.states().get(image)?.state === "pulled");
      // Docker asks for the digest of the tag, and then for the manifest.
      expect(registry.manifests() - before).toBeLessThanOrEqual(2);
      await pulls.close();
    });
  },
);

describe.skipIf(missing !== undefined || missingRegistry !== undefined)(
  "a pull from a private registry (needs Docker, docker-registry)",
  () => {
    let home: string;
    let registry: Registry;
    let image: string;
    beforeAll(async () => {
      home = mkdtempSync(join(tmpdir(), "noderax-home-"));
      registry = await startRegistry(login);
      image = await registry.push("private:1");
    });
    afterAll(async () => {
      await registry[Symbol.asyncDispose]();
      rmSync(home, { recursive: true });
    });
    const pull = (config: unknown): Promise<void> => {
      writeFileSync(join(home, "config.json"), typeof config === "string" ? config : JSON.stringify(config));
      const own = engine({
        environment: { DOCKER_CONFIG: home, PATH: home },
        account: { name: "ada", home },
      });
      return own.pull(image, nothing, idle, signal);
    };

    test("without credentials says whose login is missing", async () => {
      expect(await failure(pull({}))).toMatchObject({
        code: "pull.unauthorized",
        message: expect.stringContaining("no basic auth credentials"),
        hint: [`log in with \`docker login ${registry.host}\` as ada`],
      });
    });

    test("with a wrong password is unauthorized, and the password is in no message", async () => {
      const wrong = { username: "ada", password: "wrong-password" };
      const error = await failure(pull({ auths: { [registry.host]: { auth: basic(wrong) } } }));
      expect(error).toMatchObject({ code: "pull.unauthorized" });
      const shown = Bun.inspect(error, { depth: 10 });
      expect(shown).not.toContain("wrong-password");
      expect(shown).not.toMatch(/registry-auth/i);
    });

    test("with a configuration that cannot be read says so instead", async () => {
      expect(await failure(pull('{"auths": {"s3cret'))).toMatchObject({
        code: "pull.unauthorized",
        hint: [`${home}/config.json is not valid JSON`],
      });
    });

    test("with the login of the configuration brings the image", async () => {
      await pull({ auths: { [`https://${registry.host}/v2/`]: { auth: basic(login) } } });
      expect((await engine().snapshot(signal)).images).toContain(image);
      await docker("image", "rm", image);
    });

    test("with a credential helper brings the image", async () => {
      const answer = JSON.stringify({ ServerURL: "", Username: login.username, Secret: login.password });
      writeFileSync(join(home, "docker-credential-vault"), `#!/bin/sh\ncat >/dev/null\necho '${answer}'\n`, {
        mode: 0o755,
      });
      await pull({ credHelpers: { [registry.host]: "vault" } });
      expect((await engine().snapshot(signal)).images).toContain(image);
    });
  },
);

const failure = (work: Promise<unknown>): Promise<unknown> =>
  work.then(
    () => Promise.reject(new Error("it did not fail")),
    (error: unknown) => error,
  );
