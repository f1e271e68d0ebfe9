// A machine run by systemd, or by OpenRC: a Debian in a container with that as PID 1, without network, the executable in /opt.
import { existsSync, mkdtempSync, readdirSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { type Duration, milliseconds, minutes, seconds } from "../../src/lib/duration.ts";
import { takeLock } from "../../src/platform/lock.ts";
import { isFinal } from "../../src/protocol/noderax/tasks.ts";
import { binary } from "./binary.ts";
import { elapse } from "./until.ts";

/** On everything we make in Docker. */
const LABEL = "noderax.test=1";

interface MachineKind {
  /** Made once per Docker daemon; the number changes with what goes into it. */
  readonly image: string;
  /** Of Debian. */
  readonly release: string;
  readonly packages: string;
  readonly without?: string;
  /** The command that is its process 1. */
  readonly init: string;
  readonly stopSignal: string;
  /** Holds when it has booted. */
  readonly isUp: string;
  /** Prints what helps to understand a failure. */
  readonly diagnosis: string;
}

const bookworm = {
  image: "noderax-test-systemd:bookworm-3",
  release: "bookworm",
  packages: "systemd,systemd-sysv,dbus,sudo,bash-completion,man-db",
};

const systemd = {
  init: "/sbin/init",
  stopSignal: "SIGRTMIN+3",
  isUp: "systemctl is-system-running --wait",
  diagnosis: "journalctl --no-pager --lines=40 2>&1; systemctl list-units --failed",
};

const kinds = {
  systemd: {
    ...bookworm,
    ...systemd,
  },
  /** A newer one, with run0 and neither sudo nor doas. */
  "systemd with run0": {
    ...systemd,
    image: "noderax-test-systemd:trixie-2",
    release: "trixie",
    packages: "systemd,systemd-sysv,dbus,libpam-systemd,polkitd",
  },
  /** As in a container of an application: nothing manages services. */
  "no init": {
    ...bookworm,
    init: "sleep infinity",
    stopSignal: "SIGKILL",
    isUp: "true",
    diagnosis: "cat /root/out",
  },
  openrc: {
    release: "bookworm",
    image: "noderax-test-openrc:bookworm-1",
    packages: "openrc,opendoas,sudo",
    without: "sysv-rc",
    init: "/sbin/openrc-init",
    stopSignal: "SIGKILL",
    isUp: "rc-status --runlevel | grep default && ! ls /run/openrc/starting | grep .",
    diagnosis: "rc-status --all; tail -c 4000 /var/log/noderax-agent.log",
  },
} satisfies Record<string, MachineKind>;

/** Systemd wants the unified hierarchy; on a hybrid one it stands aside, with the controllers left to version 1. */
const cgroups = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"].find((path) =>
  existsSync(join(path, "cgroup.controllers")),
);

/**
 * Mounts that give a machine the controllers of control groups. Where these are of version 1, systemd gets them in a
 * directory of its own: it adds to it, and makes it read-only. Hierarchies of controllers that nobody uses yet are there as
 * long as the machine is.
 */
const controllerMounts = (): string[] =>
  cgroups === "/sys/fs/cgroup"
    ? [`--volume=${cgroups}:/sys/fs/cgroup:rw`]
    : [
        "--tmpfs=/sys/fs/cgroup:mode=755",
        ...readdirSync("/sys/fs/cgroup").map(
          (name) => `--volume=/sys/fs/cgroup/${name}:/sys/fs/cgroup/${name}:rw`,
        ),
      ];

/** What this computer lacks to boot such a machine, in words; undefined when nothing. */
export const missing: string | undefined = [
  process.getuid?.() === 0 ? "" : "root",
  cgroups === undefined ? "cgroups v2" : "",
  docker("version") ? "" : "a Docker daemon",
  Bun.which("debootstrap") !== null ? "" : "debootstrap",
]
  .filter(Boolean)
  .reduce<string | undefined>((all, one) => (all === undefined ? one : `${all} and ${one}`), undefined);

function docker(...args: string[]): boolean {
  if (Bun.which("docker") === null) return false;
  return Bun.spawnSync(["docker", ...args], { stdio: ["ignore", "ignore", "ignore"], timeout: seconds(60) })
    .success;
}

export interface Machine extends AsyncDisposable {
  /** Runs a program in it, as root; resolves with what it printed, trimmed. Throws when it fails. */
  run(command: readonly string[], stdin?: string): Promise<string>;
  /** The same for a shell script. */
  sh(script: string): Promise<string>;
  /** The executable, with these arguments. */
  agent(...args: string[]): Promise<string>;
  write(path: string, content: string): Promise<void>;
  /** Copies a file of this computer into it. */
  copy(from: string, to: string): Promise<void>;
  /** Waits until a shell condition holds. */
  until(condition: string, within?: Duration): Promise<void>;
  /** Shuts it down and boots it again, as `reboot` does; the kernel goes on. */
  reboot(): Promise<void>;
  /** The first half of a reboot. */
  shutDown(): Promise<void>;
  /** The second half. */
  boot(): Promise<void>;
}

export const AGENT = "/opt/noderax-agent/noderax-agent";

export interface BootOptions {
  /** True: systemd can limit memory and processes, also on a computer with control groups of version 1. */
  readonly controllers?: boolean;
}

/** Boots a machine of its own; makes the image before, which takes half a minute, when this daemon has none. */
export async function bootMachine(
  name: keyof typeof kinds = "systemd",
  { controllers = false }: BootOptions = {},
): Promise<Machine> {
  const kind: MachineKind = kinds[name];
  await imageOf(kind);
  const id = await succeed([
    "docker",
    "run",
    "--detach",
    `--label=${LABEL}`,
    "--network=none",
    // Not --privileged, which needs capabilities that a virtual machine may lack. With a cgroup namespace of its own,
    // systemd would make its groups in the host's root.
    "--cap-add=SYS_ADMIN",
    "--security-opt=seccomp=unconfined",
    "--security-opt=apparmor=unconfined",
    "--cgroupns=host",
    ...(controllers ? controllerMounts() : [`--volume=${cgroups}:/sys/fs/cgroup:rw`]),
    "--tmpfs=/run",
    "--tmpfs=/run/lock",
    "--tmpfs=/tmp",
    "--env=container=docker",
    `--stop-signal=${kind.stopSignal}`,
    kind.image,
    ...kind.init.split(" "),
  ]);

  const run: Machine["run"] = (command, stdin) =>
    succeed(["docker", "exec", "--interactive", id, ...command], stdin);
  const sh = (script: string): Promise<string> => run(["sh", "-c", script]);

  const machine: Machine = {
    run,
    sh,
    agent: (...args) => run([AGENT, ...args]),
    async write(path, content) {
      await run(["sh", "-c", 'mkdir -p "$(dirname "$1")" && cat >"$1"', "sh", path], content);
    },
    async copy(from, to) {
      await succeed(["docker", "cp", from, `${id}:${to}`]);
    },
    async until(condition, within = seconds(60)) {
      const script = `until { ${condition}\n} >/dev/null 2>&1; do sleep 0.05; done`;
      try {
        await run(["timeout", String(within / 1_000), "sh", "-c", script]);
      } catch (error) {
        const diagnosis = await sh(`${kind.diagnosis}; true`);
        throw new Error(`not within ${within} ms: ${condition}\n${diagnosis}`, { cause: error });
      }
    },
    async reboot() {
      await machine.shutDown();
      await machine.boot();
    },
    async shutDown() {
      await succeed(["docker", "stop", "-t", "120", id]);
    },
    async boot() {
      await succeed(["docker", "start", id]);
      await machine.until(kind.isUp);
    },
    async [Symbol.asyncDispose]() {
      await succeed(["docker", "rm", "--force", "--volumes", id]);
    },
  };
  try {
    await run(["mkdir", "-p", AGENT.slice(0, AGENT.lastIndexOf("/"))]);
    await succeed(["docker", "cp", binary, `${id}:${AGENT}`]);
    await machine.until(kind.isUp);
  } catch (error) {
    await machine[Symbol.asyncDispose]();
    throw error;
  }
  return machine;
}

/** Makes the image where it is absent, once: files of tests that run beside each other wait for the first. */
async function imageOf(kind: MachineKind): Promise<void> {
  // Beside the directory in which files would count as left behind.
  const lock = join(dirname(tmpdir()), `${kind.image.replaceAll(/\W/g, "-")}.lock`);
  for (const end = performance.now() + minutes(9); !docker("image", "inspect", kind.image);) {
    const held = takeLock(lock);
    if (held === undefined) {
      if (performance.now() > end) throw new Error(`nobody has made ${kind.image}`);
      await elapse(milliseconds(200));
      continue;
    }
    using _ = held;
    if (!docker("image", "inspect", kind.image)) await makeImage(kind);
  }
}

async function makeImage({ image, release, packages, without }: MachineKind): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), "noderax-systemd-"));
  try {
    // In namespaces of its own: should it be cut short, neither a process nor a mount stays behind.
    await succeed([
      "unshare",
      "--mount",
      "--pid",
      "--fork",
      "--kill-child",
      "--mount-proc",
      "debootstrap",
      "--variant=minbase",
      `--include=${packages}`,
      ...(without === undefined ? [] : [`--exclude=${without}`]),
      release,
      directory,
    ]);
    const pipe = `tar -C "$1" -c . | docker import --change "LABEL ${LABEL}" - "$2"`;
    await succeed(["sh", "-c", pipe, "sh", directory, image]);
  } finally {
    await succeed(["rm", "-rf", "--one-file-system", directory]);
  }
}

/** The trimmed standard output of a program that must succeed. */
async function succeed(command: readonly string[], stdin = ""): Promise<string> {
  const child = Bun.spawn([...command], { stdin: new Blob([stdin]), stdout: "pipe", stderr: "pipe" });
  const [out, err] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
  if (child.exitCode === 0) return out.trim();
  throw new Error(`${command.join(" ")}: exit code ${child.exitCode}\n${out}${err}`);
}

export interface TaskSeen {
  readonly id: string;
  readonly status: string;
  readonly result: Readonly<Record<string, unknown>> | null;
  /** What was written, as the rows of its log show it. */
  readonly log: string;
}

/** A machine whose agent is a service, enrolled as `web` in a sandbox that is another. */
export interface Node extends Machine {
  /** Gives the node a shell command; resolves with the task's id. */
  order(command: string, payload?: object): Promise<string>;
  /** Waits for the end of a task. */
  ended(id: string, within?: Duration): Promise<TaskSeen>;
  cancel(id: string): Promise<void>;
}

export interface NodeOptions extends BootOptions {
  readonly stateDirectory: string;
  readonly settings: Readonly<Record<string, unknown>>;
}

export async function bootNode({ stateDirectory, settings, ...boot }: NodeOptions): Promise<Node> {
  const machine = await bootMachine("systemd", boot);
  try {
    await machine.sh("useradd --system --create-home noderax");
    await machine.write(
      "/etc/noderax-agent/config.json",
      JSON.stringify({
        api_url: "http://127.0.0.1:8080",
        state_file: `${stateDirectory}/identity.json`,
        ...settings,
      }),
    );
    // The control plane is elsewhere in life, and still there when the agent stops.
    await service(machine, "sandbox", `${AGENT} sandbox --json --port 8080 --data /var/lib/sandbox`, [
      "Before=noderax-agent.service",
    ]);
    await service(machine, "noderax-agent", `${AGENT} run`, []);
    await machine.sh("chmod 600 /etc/noderax-agent/config.json && systemctl start sandbox");
    await machine.until(`${AGENT} sandbox nodes`);
    const { token } = JSON.parse(await machine.agent("sandbox", "install-token", "web", "--json")) as {
      token: string;
    };
    await machine.run([AGENT, "enroll", "--hostname", "web", "--bootstrap-token", "-"], token);
    await machine.sh("systemctl start noderax-agent");
  } catch (error) {
    await machine[Symbol.asyncDispose]();
    throw error;
  }

  const look = async (id: string): Promise<TaskSeen> => {
    const { log, ...task } = JSON.parse(
      await machine.agent("sandbox", "show", id, "--all", "--json"),
    ) as Omit<TaskSeen, "log"> & { log: { line: string }[] };
    return { ...task, log: log.map(({ line }) => line).join("\n") };
  };
  return {
    ...machine,
    async order(command, payload = {}) {
      const args = ["web", command, "--payload", JSON.stringify(payload), "--json"];
      return (JSON.parse(await machine.agent("sandbox", "task", ...args)) as { task_id: string }).task_id;
    },
    async ended(id, within = seconds(80)) {
      for (const end = performance.now() + within; ; await Bun.sleep(milliseconds(50))) {
        const seen = await look(id);
        if (isFinal(seen.status)) return seen;
        if (performance.now() > end) {
          const journal = await machine.sh("journalctl --no-pager --lines=40");
          throw new Error(`still ${seen.status} after ${within} ms: ${JSON.stringify(seen)}\n${journal}`);
        }
      }
    },
    async cancel(id) {
      await machine.agent("sandbox", "cancel", id);
    },
  };
}

/** A plain unit, enabled: it comes back with the machine. */
async function service(machine: Machine, name: string, command: string, order: string[]): Promise<void> {
  const unit = [
    "[Unit]",
    ...order,
    "[Service]",
    "Type=simple",
    "Restart=always",
    `ExecStart=${command}`,
    "UnsetEnvironment=BUN_OPTIONS BUN_BE_BUN BUN_INSPECT",
    "[Install]",
    "WantedBy=multi-user.target",
    "",
  ];
  await machine.write(`/etc/systemd/system/${name}.service`, unit.join("\n"));
  await machine.run(["systemctl", "enable", "--quiet", name]);
}
