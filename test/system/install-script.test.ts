// Promises of install.sh to the one who types it: what it asks, what it hands over, what it leaves alone when it stops.
import { describe, expect, test } from "bun:test";
import { copyFileSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import {
  ARTEFACT,
  type Ended,
  InstallWorld,
  SCRIPT,
  TOKEN,
  VERSION,
  shells,
} from "../support/install-world.ts";

const missing = ["shellcheck", "dash", "busybox", "bash", "ssh-keygen", "openssl", "curl", "wget"].filter(
  (name) => Bun.which(name) === null,
);
const ready = test.skipIf(missing.length > 0);
const asRoot = test.skipIf(missing.length > 0 || process.getuid?.() !== 0);
// Their names end on "(needs …)".
const API = "http://127.0.0.1:9";

ready("install.sh has nothing that shellcheck warns of (needs shellcheck)", () => {
  const { stdout, success } = Bun.spawnSync(["shellcheck", "--shell=sh", SCRIPT]);
  expect(stdout.toString()).toBe("");
  expect(success).toBe(true);
});

describe.each(Object.entries(shells))("under %s", (_, shell) => {
  ready("a script cut at any place does nothing (needs dash, busybox)", async () => {
    await using world = await InstallWorld.make();
    const whole = readFileSync(world.script);
    mkdirSync(join(world.directory, "dist"));
    // A whole script would install this one, and ask for nothing.
    mkdirSync(join(world.directory, "etc"));
    writeFileSync(join(world.directory, "etc/config.json"), "{}");
    writeFileSync(join(world.directory, "dist/noderax-agent"), world.executable(), { mode: 0o755 });
    const lastLine = whole.lastIndexOf("\n", whole.length - 2);
    const cuts = [...Array(Math.ceil(whole.length / 1_000)).keys()].map((n) => n * 1_000);
    for (let end = lastLine - 20; end < whole.length - 1; end++) cuts.push(end);
    for (const end of cuts) {
      writeFileSync(world.script, whole.subarray(0, end));
      await world.run(["--server-url", API], { shell });
      expect([end, ...world.calls(), ...world.traces()]).toEqual([end]);
    }
    writeFileSync(world.script, whole);
    expect((await world.run(["--server-url", API], { shell })).notes).toContain("the build of this checkout");
    expect(world.calls()).toHaveLength(1);
  });

  ready("every flag reaches the executable, and the token only by a file (needs dash, busybox)", async () => {
    await using world = await InstallWorld.make();
    const authority = join(world.directory, "ca.pem");
    writeFileSync(authority, "");
    const ended = await world.run(
      [
        "--binary",
        world.local(),
        "--api-url",
        `${API}/api/v1/`,
        "--email=ops@example.com",
        "--no-start",
        "--bootstrap-token",
        TOKEN,
        "--server-url",
        "http://cara:8080",
        "--node-name",
        "a b'c",
        "--ca-file",
        "ca.pem",
        "--log-level",
        "debug",
      ],
      { shell },
    );
    expect(ended.notes).toContain(`noderax-agent ${VERSION}`);
    expect(ended.code).toBe(0);
    const [call, ...others] = world.calls();
    expect(others).toEqual([]);
    expect(call?.args).toEqual([
      "install",
      "--non-interactive",
      "--api-url",
      API,
      "--email",
      "ops@example.com",
      "--server-url",
      "http://cara:8080",
      "--node-name",
      "a b'c",
      "--api-tls-ca-file",
      authority,
      "--log-level",
      "debug",
      "--no-start",
      "--bootstrap-token-file",
      "FILE",
    ]);
    expect(call?.token).toBe(TOKEN);
    expect(call?.environment).not.toContain(TOKEN);
    expect(world.traces()).toEqual(["opt/noderax-agent", "opt/noderax-agent/noderax-agent"]);
  });

  ready("a wrong flag ends with 2 and changes nothing (needs dash, busybox)", async () => {
    await using world = await InstallWorld.make();
    for (const [args, reason] of [
      [["--emial", "a@b.c"], "unknown flag --emial"],
      [["--email"], "--email needs a value"],
      [["--dry-run=yes"], "--dry-run takes no value"],
      [["--purge"], "--purge needs --uninstall"],
      [["--binary", "/nonexistent"], "--binary: /nonexistent is no file"],
      [["--api-url", "ftp://example.com"], "neither http nor https"],
      [["--bootstrap-token", 'a"b', "--api-url", API], "characters that no token has"],
      [["--bootstrap-token", TOKEN, "--binary", world.local()], "--bootstrap-token needs --api-url"],
      [["--server-url", API], "does not know where to download from"],
    ] as const) {
      const ended = await world.run(args, { shell });
      expect(ended.notes).toContain(reason);
      expect(ended.code).toBe(2);
    }
    expect([...world.calls(), ...world.traces()]).toEqual([]);
  });
});

ready("--bootstrap-token-file and the variable bring the token as well (needs dash)", async () => {
  await using world = await InstallWorld.make();
  writeFileSync(join(world.directory, "token"), TOKEN);
  const common = ["--binary", world.local(), "--api-url", API];
  await world.run([...common, "--bootstrap-token-file", "token"]);
  await world.run(common, { env: { NODERAX_BOOTSTRAP_TOKEN: TOKEN } });
  expect(world.calls().map(({ token }) => token)).toEqual([TOKEN, TOKEN]);
  expect(world.calls().map(({ environment }) => environment.includes(TOKEN))).toEqual([false, false]);
});

ready(
  "the exit code of the agent's command is the script's, and nothing stays behind (needs dash)",
  async () => {
    await using world = await InstallWorld.make();
    const common = ["--server-url", API, "--binary"];
    for (const code of [1, 3, 6]) {
      expect((await world.run([...common, world.local(world.executable({ code }))])).code).toBe(code);
      expect(world.traces()).toEqual([]);
    }
  },
);

ready("a second run hands over to the installed executable and copies none (needs dash)", async () => {
  await using world = await InstallWorld.make();
  const args = ["--server-url", API, "--binary", world.local()];
  await world.run(args);
  await world.run(args);
  const own = join(world.installDir, "noderax-agent");
  expect(
    world
      .calls()
      .map(({ path }) => path === own)
      .filter(Boolean),
  ).toHaveLength(1);
});

ready(
  "an executable that does not run is not installed, and the installed one stays (needs dash)",
  async () => {
    await using world = await InstallWorld.make();
    await world.run(["--server-url", API, "--binary", world.local()]);
    const own = join(world.installDir, "noderax-agent");
    const before = readFileSync(own, "utf8");
    for (const [broken, reason] of [
      ["#!/bin/sh\nkill -ILL $$\n", "this processor lacks an instruction"],
      ["#!/nonexistent/loader\n", "does not run here"],
      ["#!/bin/sh\necho other-program 1.0\n", "is not noderax-agent"],
    ] as const) {
      const ended = await world.run(["--server-url", API, "--binary", world.local(broken)]);
      expect(ended.notes).toContain(reason);
      expect(ended.code).not.toBe(0);
    }
    expect(readFileSync(own, "utf8")).toBe(before);
    expect(world.calls()).toHaveLength(1);
    expect(world.traces()).toEqual(["opt/noderax-agent", "opt/noderax-agent/noderax-agent"]);
  },
);

ready("the executable gets the SELinux label of its place before it runs there (needs dash)", async () => {
  await using world = await InstallWorld.make();
  const labelled = join(world.directory, "labelled");
  // Records the path, and that there is a file which can be labelled; as without a policy for it, it fails.
  writeFileSync(
    join(world.bin, "restorecon"),
    `#!/bin/sh\n[ -x "$1" ] && echo "$@" >>${labelled}\nexit 1\n`,
    { mode: 0o755 },
  );
  const refusing = '#!/bin/sh\n[ -s "LABELLED" ] || exit 126\n'.replace("LABELLED", labelled);
  const ended = await world.run([
    "--server-url",
    API,
    "--binary",
    world.local(refusing + world.executable()),
  ]);
  expect(ended.notes).toContain(`noderax-agent ${VERSION}`);
  expect(ended.code).toBe(0);
  expect(readFileSync(labelled, "utf8")).toMatch(
    new RegExp(`^${world.directory}/opt/\\.noderax-agent-\\w+/noderax-agent\\n$`),
  );
});

ready("--dry-run asks the executable for its plan and changes nothing (needs dash)", async () => {
  await using world = await InstallWorld.make();
  const ended = await world.run([
    "--dry-run",
    "--binary",
    world.local(world.executable({ code: 6 })),
    "--server-url",
    API,
  ]);
  expect(ended.code).toBe(6);
  expect(world.calls()[0]?.args).toEqual(["install", "--non-interactive", "--server-url", API, "--dry-run"]);
  expect(world.traces()).toEqual([]);
});

ready(
  "--uninstall is the installed executable's work, and none where there is none (needs dash)",
  async () => {
    await using world = await InstallWorld.make();
    const nothing = await world.run(["--uninstall"]);
    expect(nothing.notes).toContain("noderax-agent is not installed in");
    expect(nothing.code).toBe(0);
    await world.run(["--server-url", API, "--binary", world.local()]);
    expect((await world.run(["--uninstall", "--purge"])).code).toBe(0);
    expect(world.calls().map(({ args }) => args)).toContainEqual(["uninstall", "--purge"]);
    // After an uninstall that kept the data, there is no executable that could remove them.
    rmSync(world.installDir, { recursive: true });
    mkdirSync(join(world.directory, "state"));
    writeFileSync(join(world.directory, "state/install.json"), "{}");
    await world.run(["--uninstall", "--purge", "--binary", world.local()]);
    expect(world.calls().filter(({ args }) => args[0] === "uninstall")).toHaveLength(2);
  },
);

ready("without a terminal nothing is asked: a first installation needs an address (needs dash)", async () => {
  await using world = await InstallWorld.make();
  const ended = await world.run(["--binary", world.local()]);
  expect(ended.notes).toContain("no control plane is named");
  expect(ended.code).toBe(2);
  mkdirSync(join(world.directory, "etc"));
  writeFileSync(join(world.directory, "etc/config.json"), "{}");
  expect((await world.run(["--binary", world.local()])).code).toBe(0);
});

ready("under curl | sh at a terminal, the questions are asked there (needs dash, curl)", async () => {
  await using world = await InstallWorld.make();
  writeFileSync(join(world.place.files, "install.sh"), readFileSync(world.script));
  const args = `--binary ${world.local()}`;
  const ended = await world.atTerminal(
    `curl -fsS ${world.place.url}/install.sh | ${Bun.which("dash")} -s -- ${args}`,
    {
      "Control plane URL: ": "api.example.com",
      "E-mail of the person who approves: ": "ops@example.com",
    },
  );
  expect(ended.notes).toContain("noderax-agent 1.2.3 (commit test) from");
  expect(ended.code).toBe(0);
  expect(world.calls()[0]?.args).toEqual([
    "install",
    "--non-interactive",
    "--api-url",
    "https://api.example.com",
    "--email",
    "ops@example.com",
  ]);
});

ready("a mirror file and the installer's variables reach the executable (needs dash)", async () => {
  await using world = await InstallWorld.make();
  const env = {
    NODERAX_CONFIG_MIRROR_FILE: "config.json",
    NODERAX_AGENT_LOG_LEVEL: "warn",
    NODERAX_AGENT_SERVICE_USER: "tasks",
    NODERAX_AGENT_INSTALL_DIR: "/elsewhere",
    // Where it lies anyway.
    NODERAX_AGENT_STATE_DIR: join(world.directory, "state"),
  };
  const { notes } = await world.run(["--binary", world.local(), "--server-url", API], { env });
  const [call] = world.calls();
  expect(call?.args.join(" ")).toContain("--log-level warn --task-user tasks");
  expect(notes.match(/NODERAX_AGENT_\w+ has no effect/g)).toEqual([
    "NODERAX_AGENT_INSTALL_DIR has no effect",
  ]);
  expect(call?.environment).toContain(`NODERAX_CONFIG_MIRROR_FILE=${join(world.directory, "config.json")}`);
});

describe("on a system with musl (needs root, a static busybox)", () => {
  const isStatic = Bun.spawnSync(["ldd", Bun.which("busybox") ?? "busybox"]).exitCode !== 0;

  test.skipIf(missing.length > 0 || process.getuid?.() !== 0 || !isStatic)(
    "a missing libstdc++ is named before anything is downloaded (needs root, a static busybox)",
    async () => {
      await using world = await InstallWorld.make();
      world.release();
      // A root of its own with busybox, the loader of musl, and nothing of this computer but its devices.
      const root = join(world.directory, "root");
      for (const name of ["bin", "dev", "etc", "lib", "opt", "tmp", "usr/lib"])
        mkdirSync(join(root, name), { recursive: true });
      copyFileSync(Bun.which("busybox") ?? "", join(root, "bin/busybox"));
      Bun.spawnSync(["chroot", root, "/bin/busybox", "--install", "-s", "/bin"]);
      writeFileSync(join(root, "lib/ld-musl-x86_64.so.1"), "");
      copyFileSync(world.script, join(root, "install.sh"));
      const inRoot = 'mount --rbind /dev "$1/dev" && exec chroot "$1" /bin/sh /install.sh --server-url "$2"';
      const run = (): Promise<Ended> =>
        world.command(["unshare", "--mount", "sh", "-c", inRoot, "sh", root, API], {
          env: { PATH: "/usr/sbin:/usr/bin:/sbin:/bin", TMPDIR: "/tmp" },
        });
      const without = await run();
      expect(without.notes).toContain("error: libstdc++ is missing");
      expect(without.notes).toContain("apk add libstdc++");
      expect(without.code).toBe(1);
      expect(world.place.requests).toEqual([]);
      writeFileSync(join(root, "usr/lib/libstdc++.so.6"), "");
      expect((await run()).notes).toContain(
        `noderax-agent ${VERSION} (commit test) from ${ARTEFACT}-musl.gz`,
      );
    },
  );
});

describe("as another user (needs root)", () => {
  const user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];

  asRoot("without sudo, doas or run0 it stops with 5 (needs root)", async () => {
    await using world = await InstallWorld.make();
    Bun.spawnSync(["chown", "65534", world.temporary]);
    const ended = await world.run(["--binary", world.local(), "--server-url", API], { before: user });
    expect(ended.notes).toContain("no sudo, doas or run0");
    expect(ended.code).toBe(5);
    expect([...world.calls(), ...world.traces()]).toEqual([]);
  });

  asRoot.each(["sudo", "doas", "run0"])(
    "single commands are elevated with %s, and the proxy's password gets there without an argument (needs root)",
    async (tool) => {
      await using world = await InstallWorld.make();
      Bun.spawnSync(["chown", "-R", "65534", world.temporary, world.record, join(world.directory, "opt")]);
      const argv = join(world.directory, "argv");
      writeFileSync(argv, "");
      Bun.spawnSync(["chmod", "666", argv]);
      // As strict as they come: nothing of the environment but the PATH.
      writeFileSync(
        join(world.bin, tool),
        `#!/bin/sh\necho "$@" >>${argv}\necho ${tool}: unable to resolve host >&2\nexec env -i PATH="$PATH" "$@"\n`,
        { mode: 0o755 },
      );
      // Asked first, and refused: the next one is tried.
      const before = ["sudo", "doas", "run0"].slice(0, ["sudo", "doas", "run0"].indexOf(tool));
      for (const name of before) writeFileSync(join(world.bin, name), "#!/bin/sh\nexit 1\n", { mode: 0o755 });
      const proxy = "http://user:it's secret@proxy:3128";
      const ended = await world.run(
        ["--binary", world.local(), "--api-url", API, "--bootstrap-token", TOKEN],
        {
          before: user,
          env: { HTTPS_PROXY: proxy },
        },
      );
      expect(ended.notes).toContain(`noderax-agent ${VERSION}`);
      expect(ended.code).toBe(0);
      expect(world.calls()[0]?.token).toBe(TOKEN);
      expect(world.calls()[0]?.environment).toContain(`HTTPS_PROXY=${proxy}`);
      const calls = readFileSync(argv, "utf8");
      expect(calls).toMatch(/^true\nmktemp -d [^\n]+\n[^]*\nsh -c /);
      expect(calls).not.toMatch(/secret|b00t/);
    },
  );

  asRoot("where sudo, doas and run0 all refuse, it names them and stops with 5 (needs root)", async () => {
    await using world = await InstallWorld.make();
    Bun.spawnSync(["chown", "65534", world.temporary]);
    for (const name of ["sudo", "doas", "run0"])
      writeFileSync(join(world.bin, name), "#!/bin/sh\nexit 1\n", { mode: 0o755 });
    const ended = await world.run(["--binary", world.local(), "--server-url", API], { before: user });
    expect(ended.notes).toContain("sudo and doas and run0 did not let ");
    expect(ended.code).toBe(5);
    expect([...world.calls(), ...world.traces()]).toEqual([]);
  });
});

ready(
  "an executable that lacks libstdc++ (musl): the command that installs it is named (needs dash)",
  async () => {
    await using world = await InstallWorld.make();
    const says = "Error loading shared library libstdc++.so.6: No such file or directory";
    const executable = world.local(`#!/bin/sh\necho '${says}' >&2\nexit 127\n`);
    const ended = await world.run(["--binary", executable, "--server-url", API]);
    expect(ended.notes).toContain("apk add libstdc++");
    expect(ended.code).toBe(1);
  },
);

describe("on file systems that say no (needs root)", () => {
  const mounted = (options: string, where: string): string[] => [
    "unshare",
    "--mount",
    "sh",
    "-c",
    `mount -t tmpfs -o ${options} none '${where}' && exec "$@"`,
    "sh",
  ];

  asRoot.each([
    ["ro", "opt", "nothing can be written to"],
    ["noexec", "opt", "Is it mounted noexec?"],
    ["size=64k", "opt", "has 0 MB left"],
    ["ro", "tmp", "no temporary directory can be made"],
  ])("%s at %s: it stops with the reason (needs root)", async (options, where, reason) => {
    await using world = await InstallWorld.make();
    const ended = await world.run(
      ["--binary", world.local(world.executable({ padding: 200_000 })), "--server-url", API],
      {
        before: mounted(options, join(world.directory, where)),
        // The mount needs more programs than the script has.
        env: { PATH: `${world.bin}:/usr/bin:/bin` },
      },
    );
    expect(ended.notes).toContain(reason);
    expect(ended.code).toBe(1);
    expect(world.calls()).toEqual([]);
  });

  asRoot("noexec on the temporary directory does not matter (needs root)", async () => {
    await using world = await InstallWorld.make();
    world.release();
    const ended = await world.run(["--server-url", API], {
      before: mounted("noexec", world.temporary),
      env: { PATH: `${world.bin}:/usr/bin:/bin` },
    });
    expect(ended.code).toBe(0);
    expect(world.installed).toBe(true);
    rmSync(world.installDir, { recursive: true });
    const planned = await world.run(["--dry-run", "--server-url", API], {
      before: mounted("noexec", world.temporary),
      env: { PATH: `${world.bin}:/usr/bin:/bin` },
    });
    expect(planned.code).toBe(0);
    expect(world.calls().map(({ args }) => args.at(-1))).toContain("--dry-run");
  });
});
