// A Docker daemon of a test's own, for what cannot be done to the one that others use: stop it, freeze it, start it again.
import { mkdtempSync, readFileSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { seconds } from "../../src/lib/duration.ts";
import { dockerIn, until } from "./docker.ts";
import { processesNaming } from "./processes.ts";

/** What this computer lacks to run one, in words; undefined when nothing. */
export const missingDaemon: string | undefined =
  process.getuid?.() !== 0 ? "root" : Bun.which("dockerd") === null ? "dockerd" : undefined;

export interface Daemon extends AsyncDisposable {
  /** "unix:///…", the same over restarts. */
  readonly host: string;
  docker(...args: string[]): Promise<string>;
  start(): Promise<void>;
  /** As the system does it; containers end. */
  stop(): Promise<void>;
  /** As the out-of-memory killer does it; containers run on. */
  kill(): Promise<void>;
  /** Keeps its socket and answers nothing. */
  /** Resolves when each of its threads is stopped. */
  freeze(): Promise<void>;
  thaw(): void;
}

/** It leaves the machine's network alone but for the bridges of its networks; these go with it. */
export async function startDaemon(): Promise<Daemon> {
  const directory = mkdtempSync(join(tmpdir(), "noderax-dockerd-"));
  const host = `unix://${directory}/socket`;
  let child: Bun.Subprocess | undefined;

  const docker = (...args: string[]): Promise<string> => dockerIn({ DOCKER_HOST: host }, ...args);
  const end = async (signal: NodeJS.Signals): Promise<void> => {
    child?.kill(signal);
    await child?.exited;
    child = undefined;
  };
  const daemon: Daemon = {
    host,
    docker,
    async start() {
      const flags = ["--bridge", "none", "--iptables=false", "--ip6tables=false", "--ip-forward=false"];
      const files = ["--data-root", `${directory}/data`, "--exec-root", `${directory}/exec`];
      const pools = ["--default-address-pool", "base=10.202.0.0/16,size=24"];
      child = Bun.spawn(
        ["dockerd", "--host", host, ...files, "--pidfile", `${directory}/pid`, ...flags, ...pools],
        {
          // Its containerd writes stack dumps there.
          env: { ...process.env, TMPDIR: directory },
          stdio: ["ignore", "ignore", Bun.file(join(directory, "log"))],
        },
      );
      await until(
        "dockerd answers",
        () => {
          if (child?.exitCode !== null)
            throw new Error(`dockerd ended: ${readFileSync(join(directory, "log"), "utf8").slice(-2_000)}`);
          return docker("version").then(
            () => true,
            () => false,
          );
        },
        seconds(60),
      );
    },
    stop: () => end("SIGTERM"),
    async kill() {
      await end("SIGKILL");
      // Its containerd dies with it; where nobody reaps it, the next one would take the zombie for alive.
      rmSync(join(directory, "exec/containerd/containerd.pid"), { force: true });
    },
    async freeze() {
      const pid = child?.pid ?? 0;
      child?.kill("SIGSTOP");
      const isStopped = (thread: string): boolean =>
        /^State:\s+[TZX]/m.test(readFileSync(`/proc/${pid}/task/${thread}/status`, "utf8"));
      await until("dockerd is stopped", () => readdirSync(`/proc/${pid}/task`).every(isStopped));
    },
    thaw: () => child?.kill("SIGCONT"),
    async [Symbol.asyncDispose]() {
      daemon.thaw();
      if (child === undefined) await daemon.start();
      const ids = (await docker("ps", "--all", "--quiet")).split("\n").filter(Boolean);
      if (ids.length > 0) await docker("rm", "--force", "--volumes", ...ids);
      await docker("network", "prune", "--force");
      await daemon.stop();
      // A daemon that was killed forgets the supervisors of its containers; they name this directory as their place.
      for (const pid of processesNaming(directory)) {
        try {
          process.kill(pid, "SIGKILL");
        } catch {
          // It ended meanwhile.
        }
      }
      // It leaves its mounts behind.
      const mounts = readFileSync("/proc/self/mountinfo", "utf8")
        .split("\n")
        .map((line) => line.split(" ")[4] ?? "")
        .filter((path) => path.startsWith(`${directory}/`));
      for (const path of mounts.sort().reverse()) Bun.spawnSync(["umount", path]);
      rmSync(directory, { recursive: true, force: true });
    },
  };
  await daemon.start();
  return daemon;
}
