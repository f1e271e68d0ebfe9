// A machine to change packages on: this one's root below an overlay, in mount and pid namespaces of its own. What is written
// lands in a temporary directory, and every process ends with the machine.
import { existsSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { binary } from "./binary.ts";
import { until } from "./until.ts";

const PROGRAMS = ["unshare", "nsenter", "chroot", "mount"];

const OVERLAY = `set -e
cd "$1"
mkdir -p upper work root
mount --make-rprivate /
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" root`;

/** What this computer lacks for such a machine, in words; undefined when nothing. */
export const missingForThrowaway: string | undefined = [
  process.getuid?.() === 0 ? "" : "root",
  ...PROGRAMS.map((program) => (Bun.which(program) === null ? program : "")),
  canOverlay() ? "" : "overlayfs",
]
  .filter(Boolean)
  .reduce<string | undefined>((all, one) => (all === undefined ? one : `${all} and ${one}`), undefined);

function canOverlay(): boolean {
  if (process.getuid?.() !== 0) return true;
  const directory = mkdtempSync(join(tmpdir(), "noderax-overlay-"));
  try {
    return Bun.spawnSync(["unshare", "--mount", "sh", "-c", OVERLAY, "sh", directory], {
      stdio: ["ignore", "ignore", "ignore"],
    }).success;
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

/**
 * The binary of the build is put below /opt; everything else that is mounted on this machine is not there. The database of
 * dpkg is a copy: packages that are installed on this machine meanwhile would change it below the overlay.
 */
const ENTER = `${OVERLAY}
for at in proc run dev tmp; do mkdir -p "root/$at"; done
mount -t proc proc root/proc
mount -t tmpfs tmpfs root/run
mount -t tmpfs tmpfs root/tmp
mount --rbind /dev root/dev
mkdir -p root/opt/noderax
touch root/opt/noderax/noderax-agent
mount --bind "$2" root/opt/noderax/noderax-agent
if [ -d root/var/lib/dpkg ]; then
  cp -a root/var/lib/dpkg root/var/lib/dpkg.copy
  mount --bind root/var/lib/dpkg.copy root/var/lib/dpkg
fi
exec chroot root sleep 2147483647`;

export interface Ran {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export const AGENT_HERE = "/opt/noderax/noderax-agent";

export class Throwaway implements AsyncDisposable {
  readonly #holder: Bun.Subprocess;
  readonly #directory: string;
  #pid = 0;

  private constructor(directory: string) {
    this.#directory = directory;
    this.#holder = Bun.spawn(
      ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", ENTER, "sh", directory, binary],
      { stdio: ["ignore", "ignore", "inherit"] },
    );
  }

  static async boot(): Promise<Throwaway> {
    const directory = mkdtempSync(join(tmpdir(), "noderax-throwaway-"));
    mkdirSync(join(directory, "root"), { recursive: true });
    const machine = new Throwaway(directory);
    try {
      await until("the machine is up", () => {
        const children = Bun.file(`/proc/${machine.#holder.pid}/task/${machine.#holder.pid}/children`);
        return children.text().then((text) => {
          machine.#pid = Number(text.trim());
          return machine.#pid > 0 && existsSync(`/proc/${machine.#pid}/root/opt/noderax/noderax-agent`);
        });
      });
      await until(
        "it has settled",
        async () => (await machine.run(["cat", "/proc/1/comm"])).stdout === "sleep\n",
      );
      return machine;
    } catch (error) {
      await machine[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** Starts a program in it, as root. */
  start(argv: readonly string[], stdin = ""): Bun.Subprocess<Blob, "pipe", "pipe"> {
    return Bun.spawn(
      [
        "nsenter",
        `--target=${this.#pid}`,
        "--mount",
        "--pid",
        "--root",
        "--wd=/",
        "--",
        "env",
        "-i",
        "--chdir=/",
        ...ENVIRONMENT,
        ...argv,
      ],
      { stdio: [new Blob([stdin]), "pipe", "pipe"] },
    );
  }

  async run(argv: readonly string[], stdin = ""): Promise<Ran> {
    const child = this.start(argv, stdin);
    const [stdout, stderr] = await Promise.all([child.stdout.text(), child.stderr.text()]);
    return { code: await child.exited, stdout, stderr };
  }

  /** Runs a shell script that must succeed; resolves with its output. */
  async sh(script: string): Promise<string> {
    const { code, stdout, stderr } = await this.run(["sh", "-euc", script]);
    if (code !== 0) throw new Error(`exit code ${code} of: ${script}\n${stdout}${stderr}`);
    return stdout;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // --kill-child: the first process of the namespace ends with it, and with that one all others.
    this.#holder.kill("SIGKILL");
    await this.#holder.exited;
    await until("its processes have ended", () => this.#pid === 0 || !existsSync(`/proc/${this.#pid}`));
    rmSync(this.#directory, { recursive: true, force: true });
  }
}

const ENVIRONMENT = [
  "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
  "HOME=/root",
  "LC_ALL=C.UTF-8",
];
