// A machine run by systemd with an installed agent of version 0.1.0, and a release place with 0.2.0 and a patch to it.
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { makePatch } from "../../.ci/release/patch.ts";
import { SignedPlace } from "./signed-place.ts";
import { AGENT, type Machine, bootMachine } from "./systemd.ts";

const root = join(import.meta.dir, "../..");
/** Of the sandbox, and for the installation. */
const FIRST = "/root/noderax-agent";
const RELEASES = "/srv/releases";

/** A release whose probe is fine, and which then does something else than an agent. */
export const impostor = (version: string, run: string, selfTest = "exit 0"): Buffer =>
  Buffer.from(
    `#!/bin/sh\ncase "$1" in\n--version) echo "noderax-agent ${version} (test)"; exit ;;\nself-test) ${selfTest} ;;\nesac\n${run}\n`,
  );

export class UpdateWorld implements AsyncDisposable {
  readonly #directory = mkdtempSync(join(tmpdir(), "noderax-update-"));
  readonly place = new SignedPlace(join(this.#directory, "releases"));
  #machine: Machine | undefined;

  get machine(): Machine {
    if (this.#machine === undefined) throw new Error("the machine was not booted");
    return this.#machine;
  }

  /** Builds both versions, boots the machine, and installs the first as the node `web`. Takes half a minute. */
  async boot(): Promise<Machine> {
    const old = this.#build("0.1.0");
    const fresh = this.#build("0.2.0");
    const patch = makePatch(old, fresh);
    this.place.publish("0.1.0", old);
    this.place.publish("0.2.0", fresh, { patches: [{ from: "0.1.0", old, content: patch }] });
    const machine = (this.#machine = await bootMachine());
    await machine.sh(`rm -rf ${AGENT.slice(0, AGENT.lastIndexOf("/"))}`);
    await machine.copy(join(this.#directory, "0.1.0/noderax-agent"), FIRST);
    await this.publish("0.1.0", "0.2.0");
    await machine.write(
      "/etc/systemd/system/sandbox.service",
      "[Unit]\nBefore=noderax-agent.service\n[Service]\n" +
        `ExecStart=${FIRST} sandbox --json --port 8080 --data /var/lib/sandbox --releases ${RELEASES}\n` +
        "[Install]\nWantedBy=multi-user.target\n",
    );
    await machine.sh("systemctl enable --quiet --now sandbox");
    await machine.until(`${FIRST} sandbox nodes`);
    const { token } = JSON.parse(await this.sandbox("install-token", "web", "--json")) as { token: string };
    const place = ["--api-url=http://127.0.0.1:8080", "--update-channel-url=http://127.0.0.1:8080/releases"];
    await machine.run([FIRST, "install", ...place, "--bootstrap-token=-", "--non-interactive"], token);
    return machine;
  }

  readonly sandbox = (...args: string[]): Promise<string> => this.machine.run([FIRST, "sandbox", ...args]);

  /** Brings the catalog of the place into the machine, and these versions. */
  readonly publish = async (...versions: readonly string[]): Promise<void> => {
    await this.machine.sh(`mkdir -p ${RELEASES}`);
    for (const name of [...versions, "catalog.json"]) {
      await this.machine.sh(`rm -rf ${RELEASES}/${name}`);
      await this.machine.copy(join(this.place.directory, name), `${RELEASES}/${name}`);
    }
  };

  /** Publishes an executable as the newest version. */
  readonly release = async (version: string, executable: Buffer): Promise<void> => {
    this.place.publish(version, executable);
    await this.publish(version);
  };

  /** An executable of this tree that says it is another version, and trusts this place. */
  #build(version: string): Buffer {
    const out = join(this.#directory, version, "noderax-agent");
    const { success, stderr } = Bun.spawnSync(
      [join(root, "node_modules/.bin/bun"), ".ci/build.ts", `--out=${out}`, `--version=${version}`],
      { cwd: root, env: { ...process.env, NODERAX_ROOT_KEYS: this.place.root.raw }, stdin: "ignore" },
    );
    if (!success) throw new Error(stderr.toString());
    return readFileSync(out);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#machine?.[Symbol.asyncDispose]();
    rmSync(this.#directory, { recursive: true, force: true });
  }
}
