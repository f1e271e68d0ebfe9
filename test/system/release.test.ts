// Promises of a release: the same bytes from the same input, complete, and genuine for every program that verifies it.
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { ReleaseManifest } from "../../.ci/release/manifest.ts";
import { sha256Of } from "../../.ci/release/artefacts.ts";
import { stamped } from "../../.ci/release/install-script.ts";
import { TARGETS, baseExecutable, host } from "../../.ci/targets.ts";
import manifest from "../../package.json";
import { fetchBuild, fetchRelease } from "../../src/install/update/fetch-release.ts";
import { candidatePath } from "../../src/install/update/files.ts";
import { fetchCatalog } from "../../src/install/update/place.ts";
import { sourcesOf } from "../../src/install/update/release.ts";
import { minutes } from "../../src/lib/duration.ts";
import { runBinary } from "../support/binary.ts";
import { InstallWorld } from "../support/install-world.ts";

setDefaultTimeout(minutes(2));

const root = join(import.meta.dir, "../..");
const { version } = manifest;
const tools = ["dpkg-deb", "rpmbuild", "ssh-keygen", "openssl", "minisign", "curl"];
const missing = tools.filter((tool) => Bun.which(tool) === null);
const may = test.skipIf(missing.length > 0);
// Their names end on "(needs …)".

let directory: string;
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), "noderax-release-"));
  expect(make(["--new-keys", at("keys")]).code).toBe(0);
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

const at = (...names: string[]): string => join(directory, ...names);
const signed = (): string[] => ["--signing-key", at("keys/signing.pem"), "--root-key", at("keys/root.pem")];

/** Runs the release build in an environment without keys. */
function make(args: readonly string[], umask = "022"): { code: number; notes: string } {
  const { NODERAX_ROOT_KEYS: _, ...env } = process.env;
  const script = 'umask "$1"; shift; exec "$@"';
  const command = ["sh", "-c", script, "sh", umask, process.execPath, ".ci/release.ts", ...args];
  const { exitCode, stderr } = Bun.spawnSync(command, { cwd: root, env });
  return { code: exitCode, notes: stderr.toString() };
}

/** What a release is made of here: for each target a small program that answers as the agent does. */
function executables(text: string): string[] {
  return TARGETS.flatMap((target) => {
    writeFileSync(at(`of-${target}`), `#!/bin/sh\n# ${target}\n${text}`, { mode: 0o755 });
    return ["--executable", `${target}=${at(`of-${target}`)}`];
  });
}

const noise = Buffer.from(crypto.getRandomValues(new Uint8Array(200_000))).toString("base64");
const PROGRAM = `echo "noderax-agent ${version} (commit test) $@"\nexit 0\n# ${noise}`;
const PLACE = "https://releases.example.com";

const contents = (path: string): Record<string, string> =>
  Object.fromEntries(
    readdirSync(path, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => join(entry.parentPath, entry.name))
      .toSorted()
      .map((file) => [file.slice(path.length + 1), sha256Of(file)]),
  );

const manifestIn = (place: string, of = version): ReleaseManifest =>
  JSON.parse(readFileSync(at(place, of, "release-manifest.json"), "utf8")) as ReleaseManifest;

describe("a signed release", () => {
  may("is the same to the byte when it is made again, under another umask (needs dpkg-deb, rpmbuild)", () => {
    const args = [...signed(), ...executables(PROGRAM), "--place", `${PLACE}/`, "--minimum-version", "0.0.5"];
    expect(make([...args, "--out", at("first")])).toMatchObject({ code: 0 });
    const files = contents(at("first"));
    const prefix = `${version}/noderax-agent-${version}`;
    expect(Object.keys(files).toSorted()).toEqual(
      [
        "catalog.json",
        "install.sh",
        ...TARGETS.flatMap((target) => [`${prefix}-${target}`, `${prefix}-${target}.gz`]),
        `${prefix}.cdx.json`,
        `${prefix}-1.aarch64.rpm`,
        `${prefix}-1.x86_64.rpm`,
        `${version}/noderax-agent_${version}_amd64.deb`,
        `${version}/noderax-agent_${version}_arm64.deb`,
        `${version}/SHA256SUMS`,
        `${version}/SHA256SUMS.minisig`,
        `${version}/SHA256SUMS.sig`,
        `${version}/install.sh`,
        `${version}/release-manifest.json`,
        `${version}/signing-keys.json`,
        `${version}/signing-keys.sig`,
      ].toSorted(),
    );
    expect(make([...args, "--out", at("second")], "077")).toMatchObject({ code: 0 });
    expect(contents(at("second"))).toEqual(files);
  });

  may("says in its manifest and catalog where everything is, and what it holds (needs dpkg-deb)", () => {
    const { artifacts, builds, ...said } = manifestIn("first");
    expect(said).toMatchObject({
      product: "noderax-agent-ts",
      version,
      channel: "tag",
      minimumVersion: "0.0.5",
    });
    expect(said.notes.flatMap(({ items }) => items).length).toBeGreaterThan(0);
    expect(Object.keys(builds)).toEqual([...TARGETS]);
    for (const [target, build] of Object.entries(builds))
      for (const { file, sha256, size } of [build, build.compressed]) {
        expect(sha256Of(at("first", version, file))).toBe(sha256);
        expect(Bun.file(at("first", version, file)).size).toBe(size);
        expect(file).toContain(target);
      }
    const file = `noderax-agent-${version}-linux-arm64`;
    const sha256 = builds["linux-arm64"]?.sha256 ?? "";
    expect(artifacts["arm64"]).toEqual({ binaryUrl: `${PLACE}/${version}/${file}`, sha256 });
    expect(JSON.parse(readFileSync(at("first/catalog.json"), "utf8"))).toMatchObject({
      product: "noderax-agent-ts",
      latest: version,
      versions: [{ version, manifest: `${version}/release-manifest.json` }],
    });
    const check = Bun.spawnSync(["sha256sum", "--check", "--strict", "SHA256SUMS"], {
      cwd: at("first", version),
    });
    expect(check.exitCode).toBe(0);
    expect(check.stdout.toString()).toContain("release-manifest.json: OK");
  });

  may("has a bill of materials with every package, its hash and licence, and Bun (needs dpkg-deb)", () => {
    const bill = JSON.parse(
      readFileSync(at("first", version, `noderax-agent-${version}.cdx.json`), "utf8"),
    ) as {
      components: { name: string; purl: string; licenses: object[]; hashes: { content: string }[] }[];
      dependencies: { ref: string; dependsOn: string[] }[];
    };
    const purls = bill.components.map(({ purl }) => purl);
    expect(purls).toContain(`pkg:npm/valibot@${manifest.dependencies.valibot}`);
    expect(purls).toContain(`pkg:npm/%40oven/bun-linux-x64-musl@${manifest.devDependencies.bun}`);
    expect(purls.join()).not.toContain("ssh2");
    for (const { hashes, licenses } of bill.components) {
      expect(hashes[0]?.content).toMatch(/^[0-9a-f]{128}$/);
      expect(licenses.length).toBeGreaterThan(0);
    }
    const known = new Set([...purls, `pkg:generic/noderax-agent@${version}`]);
    for (const { ref, dependsOn } of bill.dependencies)
      expect([ref, ...dependsOn].filter((one) => !known.has(one))).toEqual([]);
  });

  may("comes from an earlier one by a patch for each target (needs rpmbuild)", () => {
    // An earlier version, kept compressed only.
    cpSync(at("first", version), at("patched/0.0.9"), { recursive: true });
    for (const target of TARGETS) rmSync(at(`patched/0.0.9/noderax-agent-${version}-${target}`));
    const earlier = JSON.stringify({ ...manifestIn("first"), version: "0.0.9" });
    writeFileSync(at("patched/0.0.9/release-manifest.json"), earlier);
    const versions = [{ version: "0.0.9", publishedAt: "", manifest: "0.0.9/release-manifest.json" }];
    writeFileSync(at("patched/catalog.json"), JSON.stringify({ product: "noderax-agent-ts", versions }));

    const args = [...signed(), ...executables(`# new\n${PROGRAM}`), "--out", at("patched")];
    expect(make(args)).toMatchObject({ code: 0 });
    const { builds } = manifestIn("patched");
    for (const target of TARGETS) {
      const [patch] = builds[target]?.patches ?? [];
      expect(patch).toMatchObject({
        from: "0.0.9",
        fromSha256: manifestIn("first").builds[target]?.sha256,
      });
      expect(patch?.size).toBeLessThan(500);
    }
    const { latest, versions: listed } = JSON.parse(readFileSync(at("patched/catalog.json"), "utf8")) as {
      latest: string;
      versions: { version: string }[];
    };
    expect([latest, ...listed.map((one) => one.version)]).toEqual([version, version, "0.0.9"]);
  });

  may("is found, verified, and made of its patch by the updater (needs rpmbuild)", async () => {
    const served = Bun.serve({
      port: 0,
      hostname: "127.0.0.1",
      fetch: ({ url }) => new Response(Bun.file(at("patched", new URL(url).pathname))),
    });
    try {
      const { signal } = new AbortController();
      const place = { url: served.url.href.replace(/\/$/, ""), authorities: () => "" };
      expect((await fetchCatalog(place, signal)).latest).toBe(version);
      const roots = [readFileSync(at("keys/root.pub"), "utf8").trim()];
      for (const target of TARGETS) {
        const found = await fetchRelease(place, version, target, roots, signal);
        const program = at("first", version, `noderax-agent-${version}-${target}`);
        const paths = { program, previous: at("previous"), downloads: at("downloads") };
        const sources = sourcesOf(found.build, { sha256: sha256Of(program) });
        const skipped: string[] = [];
        const report = { progress: () => {}, skipped: (text: string) => void skipped.push(text) };
        const bytes = await fetchBuild(place, found, sources, paths, report, signal);
        expect(skipped).toEqual([]);
        expect(bytes).toBe(found.build.patches[0]?.size ?? 0);
        expect(sha256Of(candidatePath(paths))).toBe(sha256Of(at(`of-${target}`)));
      }
    } finally {
      await served.stop(true);
    }
  });

  may("is not made from an earlier one whose executable was exchanged (needs rpmbuild)", () => {
    const file = at(`patched/0.0.9/noderax-agent-${version}-linux-x64.gz`);
    writeFileSync(file, Bun.gzipSync("another"));
    const { code, notes } = make([...executables(`# newer\n${PROGRAM}`), "--out", at("patched")]);
    expect(notes).toContain("is not what its manifest names");
    expect(code).toBe(1);
  });

  may("is verified and installed by its install.sh (needs ssh-keygen, openssl, minisign, curl)", async () => {
    await using world = await InstallWorld.make();
    world.programs("minisign");
    const text = world.executable({ version }).replace("#!/bin/sh\n", "");
    const place = ["--place", world.place.url];
    const made = make([...signed(), ...executables(text), ...place, "--out", world.place.files]);
    expect(made).toMatchObject({ code: 0 });
    // As it is published, but for where it installs to.
    const script = readFileSync(join(world.place.files, "install.sh"), "utf8");
    const places = {
      PROGRAM_DIRECTORY: world.installDir,
      CONFIG_DIRECTORY: join(world.directory, "etc"),
      STATE_DIRECTORY: join(world.directory, "state"),
    };
    writeFileSync(world.script, stamped(script, places), { mode: 0o755 });
    // The script takes the first of them that is there.
    for (const verifier of ["ssh-keygen", "openssl", "minisign"]) {
      const ended = await world.run(["--server-url", "http://127.0.0.1:9"]);
      expect(ended.notes).toContain(`signature verified by ${verifier}`);
      expect(ended.code).toBe(0);
      expect(world.installed).toBe(true);
      rmSync(world.installDir, { recursive: true });
      world.without(verifier);
    }
  });
});

describe("keys", () => {
  may("are not overwritten by new ones (needs dpkg-deb)", () => {
    const before = contents(at("keys"));
    expect(make(["--new-keys", at("keys")])).toMatchObject({ code: 1 });
    expect(contents(at("keys"))).toEqual(before);
  });

  may("of the root can stay offline: the signed list of signing keys is enough (needs dpkg-deb)", () => {
    const list = ["--signing-keys", at("keys/signing-keys.json")];
    const args = [...executables(PROGRAM), "--signing-key", at("keys/signing.pem"), ...list];
    args.push("--signing-keys-signature", at("keys/signing-keys.sig"), "--out", at("offline"));
    const refused = make(args);
    expect(refused.notes).toContain("the executable would know no root key");
    const roots = readFileSync(at("keys/root.pub"), "utf8").trim();
    const script = 'NODERAX_ROOT_KEYS="$1"; export NODERAX_ROOT_KEYS; shift; exec "$@"';
    const command = ["sh", "-c", script, "sh", roots, process.execPath, ".ci/release.ts", ...args];
    expect(Bun.spawnSync(command, { cwd: root }).exitCode).toBe(0);
    const other = Buffer.alloc(32, 1).toString("base64");
    const wrong = Bun.spawnSync(command.with(4, other), { cwd: root });
    expect(wrong.stderr.toString()).toContain("no root key of this executable");
    expect(wrong.exitCode).toBe(1);
  });

  may("in variables do not reach the programs of the build (needs dpkg-deb)", () => {
    const [signing, top] = ["signing", "root"].map((name) => readFileSync(at(`keys/${name}.pem`), "utf8"));
    // The program that is asked for its texts sees the environment of all others.
    const spy = executables(`env >>"${at("environment")}"\n${PROGRAM}`);
    const made = Bun.spawnSync([process.execPath, ".ci/release.ts", ...spy, "--out", at("variables")], {
      cwd: root,
      env: { ...process.env, NODERAX_SIGNING_KEY: signing, NODERAX_ROOT_KEY: top },
    });
    expect(made.exitCode).toBe(0);
    expect(existsSync(at("variables", version, "SHA256SUMS.minisig"))).toBe(true);
    const seen = readFileSync(at("environment"), "utf8");
    expect(seen).toContain("PATH=");
    expect(seen).not.toContain("PRIVATE KEY");
  });

  may("are missing: it says loudly that nothing is signed (needs dpkg-deb)", () => {
    const { code, notes } = make([...executables(PROGRAM), "--out", at("unsigned")]);
    expect(notes).toContain("WARNING: NOT SIGNED");
    expect(code).toBe(0);
    expect(existsSync(at("unsigned", version, "SHA256SUMS.sig"))).toBe(false);
    expect(readFileSync(at("unsigned/install.sh"), "utf8")).toContain("RELEASE_KEY_SSH=''");
  });
});

may("the rpm lays down root's files alone (needs rpmbuild)", () => {
  const cpu = process.arch === "arm64" ? "aarch64" : "x86_64";
  const rpm = at("first", version, `noderax-agent-${version}-1.${cpu}.rpm`);
  const query = (format: string): string =>
    Bun.spawnSync(["rpm", "-qp", "--queryformat", format, rpm]).stdout.toString();
  expect(query("[%{FILEMODES:perms} %{FILEUSERNAME} %{FILENAMES}\n]").trim().split("\n")).toEqual([
    "drwxr-xr-x root /opt/noderax-agent",
    "-rwxr-xr-x root /opt/noderax-agent/noderax-agent",
    "lrwxrwxrwx root /usr/bin/noderax-agent",
    "-rw-r--r-- root /usr/lib/systemd/system/noderax-agent.service",
    "-rw-r--r-- root /usr/share/bash-completion/completions/noderax-agent",
    "-rw-r--r-- root /usr/share/fish/vendor_completions.d/noderax-agent.fish",
    "-rw-r--r-- root /usr/share/man/man8/noderax-agent.8",
    "-rw-r--r-- root /usr/share/zsh/site-functions/_noderax-agent",
  ]);
  for (const kind of ["pre", "post", "preun", "postun"]) {
    const check = Bun.spawnSync(["sh", "-n", "-c", query(`%{${kind}}`)]);
    expect(check.stderr.toString()).toBe("");
  }
});

test.skipIf(missing.length > 0 || process.getuid?.() !== 0)(
  "the rpm can be installed below a root of its own, and removed (needs rpmbuild, root)",
  () => {
    const cpu = process.arch === "arm64" ? "aarch64" : "x86_64";
    const rpm = at("first", version, `noderax-agent-${version}-1.${cpu}.rpm`);
    mkdirSync(at("below"));
    const flags = ["--root", at("below"), "--dbpath", "/db", "--nodeps", "--noscripts"];
    expect(Bun.spawnSync(["rpm", "-i", ...flags, rpm]).exitCode).toBe(0);
    const installed = at("below/opt/noderax-agent/noderax-agent");
    expect(sha256Of(installed)).toBe(manifestIn("first").builds[host]?.sha256 ?? "");
    expect(Bun.spawnSync(["rpm", "-e", ...flags, "noderax-agent"]).exitCode).toBe(0);
    expect(existsSync(at("below/opt/noderax-agent"))).toBe(false);
  },
);

describe("the build", () => {
  const build = (args: readonly string[], roots = "") =>
    Bun.spawnSync([process.execPath, ".ci/build.ts", ...args], {
      cwd: root,
      env: { ...process.env, NODERAX_ROOT_KEYS: roots },
    });

  test("gives the same bytes twice, laid out by the record of a run", async () => {
    const record = at("record");
    await runBinary(["version"], { env: { BUN_BYTECODE_ORDER_OUT: record } });
    const outs = ["one", "two"].map((name) => at(name, "noderax-agent"));
    for (const out of outs) {
      const { stderr, exitCode } = build(["--out", out, "--bytecode-order", record]);
      expect(stderr.toString()).toContain("MB in");
      expect(exitCode).toBe(0);
    }
    const [one = "", two = ""] = outs.map(sha256Of);
    expect(one).toBe(two);
    const ended = await runBinary(["--version"], { file: outs[0] ?? "" });
    expect(ended).toMatchObject({ code: 0, stderr: "" });
    expect(ended.stdout).toStartWith(`noderax-agent ${version} (`);
  });

  test("takes no Bun executable that bun.lock does not name", () => {
    const other = TARGETS.find((target) => target !== host) ?? host;
    const file = at(`cache/bun-${manifest.devDependencies.bun}-${other}.tgz`);
    mkdirSync(at("cache"));
    writeFileSync(file, "another");
    expect(() => baseExecutable(other, directory, at("cache"))).toThrow("is not the package");
    expect(existsSync(file)).toBe(false);
  });

  test("takes no root key that is none", () => {
    const { stderr, exitCode } = build(["--out", at("never/noderax-agent")], "abc");
    expect(stderr.toString()).toContain("NODERAX_ROOT_KEYS must be raw Ed25519 keys");
    expect(exitCode).toBe(1);
  });
});
