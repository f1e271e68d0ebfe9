// Promises of the way from a release place to an executable on the disk.
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fetchBuild, fetchRelease } from "../../../../src/install/update/fetch-release.ts";
import { type UpdatePaths, candidatePath, requireSpace } from "../../../../src/install/update/files.ts";
import { type Place, fetchCatalog } from "../../../../src/install/update/place.ts";
import { buildName, sourcesOf } from "../../../../src/install/update/release.ts";
import { ReleasePlace } from "../../../support/release-place.ts";
import { type PublishOptions, SignedPlace } from "../../../support/signed-place.ts";

const NEW = Buffer.concat([Buffer.alloc(400_000, "new "), crypto.getRandomValues(Buffer.alloc(200_000))]);
const { signal } = new AbortController();

let directory: string;
let published: SignedPlace;
let paths: UpdatePaths;
let place: Place;
let server: ReleasePlace;

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), "fetch-"));
  server = await new ReleasePlace(directory).listens();
  published = new SignedPlace(server.files);
  paths = {
    program: join(directory, "program"),
    previous: join(directory, "previous"),
    downloads: join(directory, "downloads"),
  };
  writeFileSync(paths.program, "the old executable");
  place = { url: server.url, authorities: () => "" };
});

afterEach(async () => {
  await server[Symbol.asyncDispose]();
  rmSync(directory, { recursive: true, force: true });
});

const publish = (version: string, options: PublishOptions = {}): void =>
  published.publish(version, NEW, options);
const release = (version = "2.0.0", roots = [published.root.raw]) =>
  fetchRelease(place, version, buildName("glibc"), roots, signal);

async function fetched(): Promise<{ bytes: number; skipped: string[] }> {
  const found = await release();
  const skipped: string[] = [];
  const own = new Bun.CryptoHasher("sha256").update(readFileSync(paths.program)).digest("hex");
  const report = { progress: () => {}, skipped: (text: string) => void skipped.push(text) };
  const bytes = await fetchBuild(
    place,
    found,
    sourcesOf(found.build, { sha256: own }),
    paths,
    report,
    signal,
  );
  return { bytes, skipped };
}

const isWhole = (): boolean => readFileSync(candidatePath(paths)).equals(NEW);

describe("a release", () => {
  test("is fetched compressed, whole and executable, and leaves nothing else behind", async () => {
    publish("2.0.0");
    const { bytes } = await fetched();
    expect(isWhole()).toBeTrue();
    expect(bytes).toBeLessThan(NEW.length);
    expect(readdirSync(paths.downloads)).toEqual(["noderax-agent"]);
    expect(existsSync(`${paths.program}.part`)).toBeFalse();
  });

  test("is fetched plain where there is no compressed file", async () => {
    publish("2.0.0", { compressed: false });
    expect((await fetched()).bytes).toBe(NEW.length);
    expect(isWhole()).toBeTrue();
  });

  test("goes on where the connection broke", async () => {
    publish("2.0.0", { compressed: false });
    server.breaks = 2;
    await fetched();
    expect(isWhole()).toBeTrue();
    const asked = server.requests.filter((request) => request.includes("linux-x64"));
    expect(asked.length).toBe(3);
    expect(asked.slice(1).every((request) => / bytes=[1-9]\d*-$/.test(request))).toBeTrue();
  });

  test("begins again where the place answers a part with the whole", async () => {
    publish("2.0.0", { compressed: false });
    server.breaks = 1;
    server.ranges = false;
    await fetched();
    expect(isWhole()).toBeTrue();
    // Neither tries nor bytes were wasted on a file that could not be whole.
    expect(server.requests.filter((request) => request.includes("linux-x64"))).toHaveLength(2);
  });

  test("goes on with what an earlier updater left, and starts again where that was something else", async () => {
    publish("2.0.0", { compressed: false });
    const part = join(paths.downloads, "noderax-agent-2.0.0-linux-x64.part");
    for (const left of [NEW.subarray(0, 300_000), Buffer.alloc(300_000, "other")]) {
      rmSync(paths.downloads, { recursive: true, force: true });
      await Bun.write(part, left);
      await fetched();
      expect(isWhole()).toBeTrue();
    }
  });

  test("is fetched in full when its patch is wrong, cut or missing", async () => {
    const old = readFileSync(paths.program);
    const patch = { from: "1.0.0", old, content: Buffer.from("no patch at all") };
    publish("2.0.0", { patches: [patch] });
    const first = await fetched();
    expect(isWhole()).toBeTrue();
    expect(first.skipped.length).toBe(1);
    rmSync(join(published.directory, "2.0.0", "noderax-agent-1.0.0-to-2.0.0-linux-x64.patch"));
    expect((await fetched()).skipped[0]).toContain("404");
    expect(isWhole()).toBeTrue();
  });
});

describe("nothing is installed", () => {
  const refusal = async (work: Promise<unknown>): Promise<string> => {
    try {
      await work;
    } catch (error) {
      return error instanceof Error && "code" in error
        ? `${String(error.code)}: ${error.message}`
        : String(error);
    }
    return "accepted";
  };

  test("of another program's place, which is recognised before anything is written", async () => {
    publish("2.0.0");
    published.catalog("noderax-agent");
    expect(await refusal(fetchCatalog(place, signal))).toStartWith("update.foreign");
    writeFileSync(join(published.directory, "catalog.json"), '{"versions":[{"version":"1.4.2"}]}');
    expect(await refusal(fetchCatalog(place, signal))).toStartWith("update.foreign");
    expect(existsSync(paths.downloads)).toBeFalse();
  });

  test("that another root key signed", async () => {
    publish("2.0.0", { signedBy: new SignedPlace(join(directory, "other")) });
    expect(await refusal(release())).toStartWith("update.signature");
  });

  test("by a build without root keys", async () => {
    publish("2.0.0");
    expect(await refusal(release("2.0.0", []))).toStartWith("update.signature");
  });

  test("whose sums were changed", async () => {
    publish("2.0.0");
    published.tamper("2.0.0", "SHA256SUMS", (sums) =>
      Buffer.from(sums.toString().replace(/^./, (digit) => (digit === "0" ? "1" : "0"))),
    );
    expect(await refusal(release())).toStartWith("update.signature");
  });

  test("whose manifest was changed", async () => {
    publish("2.0.0");
    published.tamper("2.0.0", "release-manifest.json", (text) => Buffer.concat([text, Buffer.from(" ")]));
    expect(await refusal(release())).toStartWith("update.signature");
  });

  test("of an older version under the name of a newer one", async () => {
    publish("2.0.0", { comment: "noderax-agent-ts 1.0.0" });
    expect(await refusal(release())).toStartWith("update.signature");
  });

  test("whose executable was changed at the place", async () => {
    publish("2.0.0", { compressed: false });
    published.tamper("2.0.0", "noderax-agent-2.0.0-linux-x64", (content) => {
      content[0] = 0;
      return content;
    });
    expect(await refusal(fetched())).toStartWith("update.download");
    expect(existsSync(candidatePath(paths))).toBeFalse();
  });

  test("that has no build for this machine", async () => {
    publish("2.0.0");
    expect(
      await refusal(fetchRelease(place, "2.0.0", "linux-riscv64", [published.root.raw], signal)),
    ).toStartWith("update.version");
  });

  test("where two versions have no room", () => {
    expect(() => requireSpace(paths, Number.MAX_SAFE_INTEGER)).toThrow(/are free/);
  });

  test("from a place that cannot be reached: exit code 4", async () => {
    const away = { ...place, url: "http://127.0.0.1:1" };
    const error = await fetchCatalog(away, signal).catch((caught: unknown) => caught);
    expect(error).toMatchObject({ exit: 4 });
  });
});
