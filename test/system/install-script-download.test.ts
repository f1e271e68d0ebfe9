// Promises of install.sh about what it downloads: verified or refused, resumed after a cut, and reported step by step.
import { describe, expect, test } from "bun:test";
import { appendFileSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { ARTEFACT, InstallWorld, TOKEN, VERSION, shells } from "../support/install-world.ts";
import { certificateFor } from "../support/certificates.ts";
import { ReleaseKey, ReleasePlace } from "../support/release-place.ts";

const missing = ["dash", "busybox", "ssh-keygen", "openssl", "curl", "wget"].filter(
  (name) => Bun.which(name) === null,
);
const ready = test.skipIf(missing.length > 0);
const asRoot = test.skipIf(missing.length > 0 || process.getuid?.() !== 0);
// Their names end on "(needs …)".
const API = "http://127.0.0.1:9";
const CARA = ["--server-url", API];

type Prepare = (world: InstallWorld) => void;
const tools: Readonly<Record<string, Prepare>> = {
  "curl alone": (world) => world.without("wget"),
  "wget alone": (world) => world.without("curl"),
  "busybox alone": (world) => world.busyboxOnly(),
};
const verifiers: Readonly<Record<string, Prepare>> = {
  "ssh-keygen": () => {},
  openssl: (world) => world.without("ssh-keygen"),
  minisign: (world) => {
    world.without("ssh-keygen", "openssl");
    world.programs("minisign");
  },
};

describe.each(Object.entries(tools))("with %s", (name, prepare) => {
  const shell = shells[name.startsWith("busybox") ? "busybox ash" : "dash"] ?? [];

  ready(
    "a release is downloaded compressed, verified, and installed (needs curl, wget, busybox)",
    async () => {
      await using world = await InstallWorld.make();
      prepare(world);
      world.release();
      const ended = await world.run(CARA, { shell });
      expect(ended.notes).toContain(`noderax-agent ${VERSION} (commit test) from ${ARTEFACT}.gz (`);
      expect(ended.code).toBe(0);
      expect(world.installed).toBe(true);
      expect(world.place.requests).toContain(`GET /${ARTEFACT}.gz`);
      expect(world.traces()).toEqual(["opt/noderax-agent", "opt/noderax-agent/noderax-agent"]);
    },
  );

  ready.each([true, false])(
    "a cut download goes on, or starts again: ranges %p (needs curl, wget, busybox)",
    async (ranges) => {
      await using world = await InstallWorld.make();
      prepare(world);
      const executable = world.executable({ padding: 300_000 });
      world.release({}, executable);
      world.place.breaks = 1;
      world.place.ranges = ranges;
      const ended = await world.run(CARA, { shell });
      expect(ended.notes).toContain("the download was cut, going on in 1 s");
      expect(ended.code).toBe(0);
      expect(world.place.requests.filter((line) => line.includes("bytes="))).toHaveLength(1);
      expect(readFileSync(join(world.installDir, "noderax-agent"), "utf8")).toBe(executable);
    },
  );

  ready(
    "the stages are reported with the token, up to the hand-over (needs curl, wget, busybox)",
    async () => {
      await using world = await InstallWorld.make();
      prepare(world);
      world.release();
      await world.run(["--api-url", `${world.place.url}/v1`, "--bootstrap-token", TOKEN], { shell });
      expect(
        world.place.reports.map(({ stage, progressPercent, status }) => [stage, progressPercent, status]),
      ).toEqual([
        ["installer_started", 8, "installing"],
        ["dependencies_ready", 30, "installing"],
        ["binary_download_started", 60, "installing"],
        ["binary_downloaded", 74, "installing"],
        ["agent_bootstrapping", 88, "installing"],
      ]);
      expect(new Set(world.place.reports.map(({ token }) => token))).toEqual(new Set([TOKEN]));
      expect(world.place.requests).toContain("POST /api/v1/node-installs/progress");
    },
  );

  ready("a file that is not there stops at once, with 4 (needs curl, wget, busybox)", async () => {
    await using world = await InstallWorld.make();
    prepare(world);
    world.release();
    rmSync(join(world.place.files, `${ARTEFACT}.gz`));
    const ended = await world.run(CARA, { shell });
    expect(ended.notes).toContain("404");
    expect(ended.code).toBe(4);
    expect(world.traces()).toEqual([]);
  });
});

ready("a failure is reported with its reason and the last percentage (needs curl)", async () => {
  await using world = await InstallWorld.make();
  world.release();
  appendFileSync(join(world.place.files, `${ARTEFACT}.gz`), "x");
  const ended = await world.run(["--api-url", world.place.url, "--bootstrap-token", TOKEN]);
  expect(ended.code).toBe(5);
  expect(world.place.reports.at(-1)).toEqual({
    token: TOKEN,
    stage: "failed",
    status: "failed",
    progressPercent: 60,
    statusMessage: `the checksum of ${ARTEFACT}.gz is wrong`,
  });
});

ready("a control plane that takes no reports does not stop the installation (needs curl)", async () => {
  await using world = await InstallWorld.make();
  world.release();
  const ended = await world.run(["--api-url", API, "--bootstrap-token", TOKEN]);
  expect(ended.notes.match(/progress cannot be reported to/g)).toHaveLength(1);
  expect(ended.code).toBe(0);
});

ready("without curl and wget it says how to go on (needs dash)", async () => {
  await using world = await InstallWorld.make();
  world.without("curl", "wget");
  world.release();
  const ended = await world.run(CARA);
  expect(ended.notes).toContain("there is no curl and no wget");
  expect(ended.code).toBe(1);
});

ready("an installed executable of the same version is not downloaded again (needs curl)", async () => {
  await using world = await InstallWorld.make();
  world.release();
  await world.run(CARA);
  const before = world.place.requests.length;
  const ended = await world.run(CARA);
  expect(ended.notes).toContain("which is this version already");
  expect(world.place.requests.slice(before)).toEqual(["GET /SHA256SUMS", "GET /SHA256SUMS.sig"]);
});

describe.each(Object.entries(verifiers))("verified by %s", (name, prepare) => {
  const may = test.skipIf(missing.length > 0 || Bun.which(name) === null);

  may(`the right signature passes, and ${name} is named (needs ${name})`, async () => {
    await using world = await InstallWorld.make();
    prepare(world);
    world.release({ RELEASE_SUMS: "" });
    const ended = await world.run(CARA);
    expect(ended.notes).toContain(`signature verified by ${name}`);
    expect(ended.code).toBe(0);
  });

  may(`the signature of another key, and one of other checksums, are refused (needs ${name})`, async () => {
    await using world = await InstallWorld.make();
    prepare(world);
    const sums = join(world.place.files, "SHA256SUMS");
    const isRefused = async (): Promise<void> => {
      for (const args of [CARA, [...CARA, "--allow-unverified"]]) {
        const ended = await world.run(args);
        expect(ended.notes).toContain(`the signature of ${world.place.url}/SHA256SUMS is wrong (${name})`);
        expect(ended.code).toBe(5);
      }
    };
    world.release();
    const right = readFileSync(sums);
    appendFileSync(sums, `${"0".repeat(64)}  another-file\n`);
    await isRefused();
    writeFileSync(sums, right);
    rmSync(`${sums}.sig`);
    new ReleaseKey(join(world.directory, "other")).sign(sums);
    await isRefused();
    expect([...world.calls(), ...world.traces()]).toEqual([]);
  });
});

describe("without anything that verifies a signature", () => {
  ready("the version of the script is verified by the checksums in it (needs curl)", async () => {
    await using world = await InstallWorld.make();
    world.without("ssh-keygen", "openssl");
    world.release();
    const ended = await world.run(CARA);
    expect(ended.notes).toContain("verified by the checksums in install.sh");
    expect(ended.code).toBe(0);
  });

  ready("another version is refused, unless --allow-unverified is given (needs curl)", async () => {
    await using world = await InstallWorld.make();
    world.without("ssh-keygen", "openssl");
    world.release({ RELEASE_VERSION: "1.2.2" });
    const refused = await world.run([...CARA, "--version", VERSION]);
    expect(refused.notes).toContain("nothing here can verify a signature");
    expect(refused.code).toBe(5);
    const allowed = await world.run([...CARA, "--version", VERSION, "--allow-unverified"]);
    expect(allowed.notes).toContain("its signature was NOT verified");
    expect(allowed.code).toBe(0);
  });

  ready("a wrong checksum is refused even with --allow-unverified (needs curl)", async () => {
    await using world = await InstallWorld.make();
    world.release();
    world.stamp({});
    writeFileSync(join(world.place.files, `${ARTEFACT}.gz`), Bun.gzipSync(Buffer.from("#!/bin/sh\n")));
    const args = [...CARA, "--download-url", world.place.url, "--version", VERSION];
    expect((await world.run(args)).notes).toContain("has no release key");
    const ended = await world.run([...args, "--allow-unverified"]);
    expect(ended.notes).toContain(`the checksum of ${ARTEFACT}.gz is wrong`);
    expect(ended.code).toBe(5);
    expect(world.installed).toBe(false);
  });
});

ready("signed checksums of another version do not pass for the wanted one (needs curl)", async () => {
  await using world = await InstallWorld.make();
  world.release({ RELEASE_VERSION: "9.9.9", RELEASE_SUMS: "" });
  const ended = await world.run(CARA);
  expect(ended.notes).toContain("does not list noderax-agent-9.9.9");
  expect(ended.code).toBe(5);
});

ready("an artefact that says another version than its name is refused (needs curl)", async () => {
  await using world = await InstallWorld.make();
  world.release({}, world.executable({ version: "1.2.30" }));
  const ended = await world.run(CARA);
  expect(ended.notes).toContain(`the executable is not noderax-agent ${VERSION}`);
  expect(ended.code).toBe(5);
  expect(world.calls()).toEqual([]);
});

ready(
  "a checkout's script downloads from a place that is named, the one version there is (needs curl)",
  async () => {
    await using world = await InstallWorld.make();
    world.release();
    world.stamp({});
    const ended = await world.run([...CARA, "--download-url", `${world.place.url}/`, "--allow-unverified"]);
    expect(ended.code).toBe(0);
    const direct = ["--binary-url", `${world.place.url}/${ARTEFACT}`, "--allow-unverified"];
    rmSync(world.installDir, { recursive: true });
    expect((await world.run([...CARA, ...direct])).code).toBe(0);
    expect(world.installed).toBe(true);
  },
);

asRoot.each(["curl", "wget", "busybox"])(
  "%s: a full disk stops the download with the reason (needs root)",
  async (tool) => {
    await using world = await InstallWorld.make();
    if (tool === "busybox") world.busyboxOnly();
    else world.without(tool === "curl" ? "wget" : "curl");
    world.release({}, world.executable({ padding: 400_000 }));
    const mount = `mount -t tmpfs -o size=256k none '${world.temporary}' && PATH='${world.bin}' && exec "$@"`;
    const ended = await world.run(CARA, {
      before: ["unshare", "--mount", "/bin/sh", "-c", mount, "sh"],
      env: { PATH: `${world.bin}:/usr/bin:/bin` },
    });
    expect(ended.notes).toContain("has 0 MB left.");
    expect(ended.code).toBe(1);
    expect([...world.calls(), ...world.traces()]).toEqual([]);
  },
);

ready.each(["curl", "wget"])(
  "%s: --ca-file is trusted for the download and the reports (needs openssl)",
  async (tool) => {
    await using world = await InstallWorld.make();
    world.without(tool === "curl" ? "wget" : "curl");
    const { ca, cert, key } = certificateFor(world.directory, "IP:127.0.0.1", "Installer Test CA");
    const tls = { cert: readFileSync(cert), key: readFileSync(key) };
    await using secure = await new ReleasePlace(world.directory, tls).listens();
    world.release({ RELEASE_PLACE: secure.url });
    const args = ["--api-url", secure.url, "--bootstrap-token", TOKEN];
    expect((await world.run([...args, "--ca-file", ca])).code).toBe(0);
    expect(secure.reports).toHaveLength(5);
    expect(world.calls()[0]?.args.join(" ")).toContain(`--api-tls-ca-file ${ca}`);
  },
);

ready.each(["curl", "wget"])("%s: HTTP_PROXY is used, also in capitals (needs curl, wget)", async (tool) => {
  await using world = await InstallWorld.make();
  world.without(tool === "curl" ? "wget" : "curl");
  world.release({ RELEASE_PLACE: "http://releases.invalid" });
  expect((await world.run(CARA, { env: { HTTP_PROXY: world.place.url } })).code).toBe(0);
});

ready.each(["curl", "wget"])(
  "%s: at a terminal the download shows how far it is (needs curl, wget)",
  async (tool) => {
    await using world = await InstallWorld.make();
    world.without(tool === "curl" ? "wget" : "curl");
    world.release({}, world.executable({ padding: 300_000 }));
    const ended = await world.atTerminal(`exec ${Bun.which("dash")} ${world.script} ${CARA.join(" ")}`, {});
    expect(ended.notes).toMatch(/100[.0]*%/);
    expect(ended.code).toBe(0);
    expect(world.installed).toBe(true);
  },
);

ready("Ctrl-C in the middle of a download leaves nothing behind, and is reported (needs curl)", async () => {
  await using world = await InstallWorld.make();
  world.release({}, world.executable({ padding: 300_000 }));
  const pid = join(world.directory, "pid");
  // To the whole process group, as a terminal does it.
  world.place.holds = () => process.kill(-Number(readFileSync(pid, "utf8")), "SIGINT");
  const ended = await world.run(["--api-url", world.place.url, "--bootstrap-token", TOKEN], {
    before: ["sh", "-c", `echo $$ >${pid} && exec "$@"`, "sh"],
  });
  expect(ended.code).toBe(130);
  expect(world.place.reports.at(-1)).toMatchObject({ stage: "failed", statusMessage: "interrupted" });
  expect([...world.calls(), ...world.traces()]).toEqual([]);
});
