// A machine for install.sh below one directory: a PATH with chosen programs, places to install to, and an executable that
// writes down how it was called.
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { SOON, until } from "./until.ts";
import { stamped } from "../../.ci/release/install-script.ts";
import { ReleaseKey, ReleasePlace, type Stamps } from "./release-place.ts";

export const SCRIPT = join(import.meta.dir, "../../install.sh");
export const VERSION = "1.2.3";
export const PLATFORM = process.arch === "arm64" ? "linux-arm64" : "linux-x64";
export const ARTEFACT = `noderax-agent-${VERSION}-${PLATFORM}`;
export const TOKEN = "b00t-T0ken.of_the/test";

/** The shells that the script is written for, as commands before a script's name. */
export const shells: Readonly<Record<string, readonly string[]>> = {
  dash: ["dash"],
  "busybox ash": ["busybox", "ash"],
  bash: ["bash"],
};

/** What the script may use, but for a program that fetches or verifies. */
const COREUTILS =
  "cat chmod cp cut df env gzip grep head id ls mktemp mkdir mv rm sed sh sha256sum sleep tail timeout tr true test uname";

export interface Ended {
  readonly code: number;
  readonly out: string;
  readonly notes: string;
}

/** How the executable was called by `install` or `uninstall`. */
export interface Call {
  readonly args: readonly string[];
  /** What the file behind --bootstrap-token-file held. */
  readonly token: string;
  readonly environment: string;
  readonly path: string;
}

export class InstallWorld implements AsyncDisposable {
  readonly directory = mkdtempSync(join(tmpdir(), "noderax-installer-"));
  readonly bin = join(this.directory, "bin");
  readonly temporary = join(this.directory, "tmp");
  readonly installDir = join(this.directory, "opt/noderax-agent");
  readonly key = new ReleaseKey(join(this.directory, "key"));
  readonly place = new ReleasePlace(this.directory);
  readonly record = join(this.directory, "record");
  script = join(this.directory, "install.sh");

  static async make(): Promise<InstallWorld> {
    const world = new InstallWorld();
    await world.place.listens();
    for (const made of [world.bin, world.temporary, join(world.directory, "opt"), world.record])
      mkdirSync(made);
    chmodSync(world.directory, 0o755);
    world.programs(...COREUTILS.split(" "), "curl", "wget", "ssh-keygen", "openssl");
    // Nothing below needs to be root, but the script does.
    if (process.getuid?.() !== 0)
      writeFileSync(join(world.bin, "sudo"), '#!/bin/sh\nexec "$@"\n', { mode: 0o755 });
    world.stamp({});
    return world;
  }

  /** Puts programs of this computer into the PATH. */
  programs(...names: string[]): void {
    for (const name of names) {
      const found = Bun.which(name);
      if (found === null) throw new Error(`there is no ${name} here`);
      symlinkSync(found, join(this.bin, name));
    }
  }

  /** Takes programs out of the PATH. */
  without(...names: string[]): void {
    for (const name of names) rmSync(join(this.bin, name), { force: true });
  }

  /** Every program is the one of busybox, and there is no other. */
  busyboxOnly(): void {
    this.without(...readdirSync(this.bin).filter((name) => name !== "sudo"));
    for (const name of [...COREUTILS.split(" "), "wget"])
      symlinkSync(Bun.which("busybox") ?? "", join(this.bin, name));
  }

  stamp(stamps: Stamps): void {
    const places = {
      PROGRAM_DIRECTORY: this.installDir,
      CONFIG_DIRECTORY: join(this.directory, "etc"),
      STATE_DIRECTORY: join(this.directory, "state"),
    };
    const script = stamped(readFileSync(SCRIPT, "utf8"), { ...places, ...stamps });
    writeFileSync(this.script, script, { mode: 0o755 });
  }

  /** Publishes a release, and stamps the script with its place, its key and its checksums. */
  release(stamps: Stamps = {}, executable: string = this.executable()): void {
    const sums = this.place.publish(executable, [ARTEFACT, `${ARTEFACT}-musl`], this.key);
    this.stamp({
      RELEASE_VERSION: VERSION,
      RELEASE_PLACE: this.place.url,
      RELEASE_SUMS: sums,
      ...this.key.stamps,
      ...stamps,
    });
  }

  /** An executable that says its version, records its other calls, and installs itself as the real one does. */
  executable({ version = VERSION, code = 0, padding = 0 } = {}): string {
    const noise = Buffer.from(crypto.getRandomValues(new Uint8Array(padding))).toString("base64");
    return `#!/bin/sh
if [ "$1" = --version ]; then echo "noderax-agent ${version} (commit test)"; exit; fi
record=$(mktemp "${this.record}/XXXXXX")
{
  echo "path=$0"
  for arg; do echo "arg=$arg"; done
  while [ $# -gt 0 ]; do [ "$1" != --bootstrap-token-file ] || sed 's/^/token=/' "$2"; shift; done
  env | sed 's/^/env=/'
} >"$record"
[ ${code} -ne 0 ] || [ "$0" = "${this.installDir}/noderax-agent" ] || { mkdir -p "${this.installDir}" && cp -p "$0" "${this.installDir}/noderax-agent"; }
exit ${code}
# ${noise}
`;
  }

  local(executable: string = this.executable()): string {
    const path = join(this.directory, "local-agent");
    writeFileSync(path, executable, { mode: 0o755 });
    return path;
  }

  calls(): Call[] {
    return readdirSync(this.record).map((name) => {
      const lines = readFileSync(join(this.record, name), "utf8").split("\n");
      const all = (kind: string): string[] =>
        lines.filter((line) => line.startsWith(`${kind}=`)).map((line) => line.slice(kind.length + 1));
      return {
        args: all("arg").map((arg) => (arg.startsWith(this.temporary) ? "FILE" : arg)),
        token: all("token").join("\n"),
        environment: all("env").join("\n"),
        path: all("path").join("\n"),
      };
    });
  }

  /** Everything that is not there before, below the places that the script writes to. */
  traces(): string[] {
    return [this.temporary, join(this.directory, "opt")].flatMap((place) =>
      readdirSync(place, { recursive: true }).map((name) =>
        join(place, String(name)).slice(this.directory.length + 1),
      ),
    );
  }

  get installed(): boolean {
    return existsSync(join(this.installDir, "noderax-agent"));
  }

  /** The environment of a run: nothing of the caller's but what is given. */
  environment(env: Readonly<Record<string, string>> = {}): Record<string, string> {
    return {
      PATH: this.bin,
      HOME: this.directory,
      TMPDIR: this.temporary,
      ...env,
    };
  }

  async run(args: readonly string[], options: RunOptions = {}): Promise<Ended> {
    const [shell, before] = [options.shell ?? ["dash"], options.before ?? []].map((words) =>
      words.map((word, index) => (index === 0 ? (Bun.which(word) ?? word) : word)),
    ) as [string[], string[]];
    // Without a controlling terminal, whether or not the tests have one.
    return await this.command(["setsid", "--wait", ...before, ...shell, this.script, ...args], options);
  }

  async command(command: readonly string[], { env = {}, stdin = "" }: RunOptions = {}): Promise<Ended> {
    const [program = "", ...args] = command;
    const child = Bun.spawn([Bun.which(program) ?? program, ...args], {
      cwd: this.directory,
      env: this.environment(env),
      stdin: Buffer.from(stdin),
      stdout: "pipe",
      stderr: "pipe",
    });
    const [out, notes, code] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
    return { code, out, notes };
  }

  /** A shell command at a terminal of its own. Each answer is typed when its question is shown. */
  async atTerminal(command: string, answers: Readonly<Record<string, string>>): Promise<Ended> {
    let screen = "";
    const decoder = new TextDecoder();
    const shown = Promise.withResolvers<void>();
    const child = Bun.spawn([Bun.which("dash") ?? "dash", "-c", command], {
      cwd: this.directory,
      env: this.environment(),
      terminal: {
        data: (_, bytes) => void (screen += decoder.decode(bytes, { stream: true })),
        exit: () => shown.resolve(),
      },
    });
    for (const [question, answer] of Object.entries(answers)) {
      await until(
        `it asks ${question}`,
        () => screen.includes(question),
        SOON,
        () => `; it shows ${screen}`,
      );
      child.terminal?.write(`${answer}\r`);
    }
    const code = await child.exited;
    await shown.promise;
    child.terminal?.close();
    return { code, out: screen, notes: screen };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.place[Symbol.asyncDispose]();
    rmSync(this.directory, { recursive: true, force: true });
  }
}

export interface RunOptions {
  readonly env?: Readonly<Record<string, string>>;
  readonly stdin?: string;
  readonly shell?: readonly string[];
  /** A command that runs the shell, as `setpriv` and its flags. */
  readonly before?: readonly string[];
}
