// A real Docker Engine for tests: the one of DOCKER_HOST. What a test makes there goes at its end.
import { chmodSync, copyFileSync, mkdirSync, mkdtempSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { seconds } from "../../src/lib/duration.ts";
import { currentAccount } from "../../src/platform/account.ts";
import type { DesiredProject, DesiredService } from "../../src/projects/plan/desired.ts";
import { desire } from "../../src/projects/plan/desired.ts";
import { type DockerOptions, createDocker } from "../../src/projects/docker/engine.ts";
import type { Engine } from "../../src/projects/plan/engine.ts";
import { containerName, networkName } from "../../src/projects/plan/names.ts";
export { eventually as until } from "./until.ts";

export const dockerHost = process.env["DOCKER_HOST"] ?? "unix:///var/run/docker.sock";

/** Has a shell and nothing else; made once per daemon, the number changes with what goes into it. */
export const IMAGE = "noderax-test-busybox:1";

/** What this computer lacks for tests on a real engine, in words; undefined when nothing. */
export const missing: string | undefined = [
  answers("version") ? "" : `a Docker daemon at ${dockerHost}`,
  answers("image", "inspect", IMAGE) || Bun.which("busybox") !== null ? "" : "busybox",
]
  .filter(Boolean)
  .reduce<string | undefined>((all, one) => (all === undefined ? one : `${all} and ${one}`), undefined);
if (missing !== undefined) console.warn(`tests on Docker are skipped: this machine lacks ${missing}`);

function answers(...args: string[]): boolean {
  if (Bun.which("docker") === null) return false;
  return Bun.spawnSync(["docker", ...args], { stdio: ["ignore", "ignore", "ignore"], timeout: seconds(60) })
    .success;
}

/** Docker's own command; resolves with what it printed, trimmed. Throws when it fails. */
export async function docker(...args: string[]): Promise<string> {
  return dockerIn({}, ...args);
}

/** The same with more in the environment: DOCKER_CONFIG and the like. */
export async function dockerIn(environment: Record<string, string>, ...args: string[]): Promise<string> {
  const child = Bun.spawn(["docker", ...args], {
    env: { ...process.env, DOCKER_HOST: dockerHost, ...environment },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const [out, err, code] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
  if (code !== 0) throw new Error(`docker ${args.join(" ")}: ${err}`);
  return out.trim();
}

/** Makes `IMAGE` where it is not there yet; resolves with its name. */
export async function testImage(): Promise<string> {
  if (answers("image", "inspect", IMAGE)) return IMAGE;
  const directory = mkdtempSync(join(tmpdir(), "noderax-image-"));
  try {
    mkdirSync(join(directory, "root/bin"), { recursive: true });
    const busybox = Bun.which("busybox");
    if (busybox === null) throw new Error("there is no busybox");
    copyFileSync(busybox, join(directory, "root/bin/busybox"));
    chmodSync(join(directory, "root/bin/busybox"), 0o755);
    for (const name of "sh sleep cat echo wget nc nslookup ls true false httpd env ping dd head yes".split(
      " ",
    ))
      symlinkSync("busybox", join(directory, "root/bin", name));
    const archive = join(directory, "image.tar");
    const tar = Bun.spawnSync([
      "tar",
      "--owner=0",
      "--group=0",
      "-C",
      join(directory, "root"),
      "-cf",
      archive,
      ".",
    ]);
    if (!tar.success) throw new Error(`tar: ${tar.stderr.toString()}`);
    // A command that stays until it is told to go.
    const command = `CMD ["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 1 & wait $!; done"]`;
    await docker("import", "--change", command, archive, IMAGE);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
  return IMAGE;
}

/** An image that does this when it is started, made of `IMAGE`; "exit 3", "sleep 60". Removed with the playground. */
export async function imageThat(script: string, name: string): Promise<string> {
  await testImage();
  const id = await docker("create", IMAGE);
  try {
    await docker("commit", "--change", `CMD ${JSON.stringify(["sh", "-c", script])}`, id, name);
  } finally {
    await docker("rm", "--force", id);
  }
  return name;
}

export function engine(options: Partial<DockerOptions> = {}): Engine {
  return createDocker({ host: dockerHost, environment: {}, account: currentAccount(), ...options });
}

export interface Playground extends AsyncDisposable {
  /** A name for a project that nobody else has; "-" and `suffix` behind it where one is given. */
  readonly project: string;
  /** An image that does this when it is started. */
  image(script: string): Promise<string>;
  /** What a project of this spec means; `project` names another one than the playground's. */
  wants(services: readonly WantedService[], volumes?: readonly string[], project?: string): DesiredProject;
  /** Network, volumes and running containers of it, made by `engine`. */
  bringUp(desired: DesiredProject): Promise<void>;
  /** A container that is not ours, with the docker command's own arguments; resolves with its id. */
  foreign(name: string, ...args: string[]): Promise<string>;
  /** As the other agent makes it: our names and labels, no fingerprint. */
  byOtherAgent(service: DesiredService, project?: string): Promise<string>;
}

export interface WantedService {
  readonly name: string;
  readonly image?: string;
  readonly env?: Readonly<Record<string, string>>;
  /** Path by name of the volume. */
  readonly mounts?: Readonly<Record<string, string>>;
}

let playgrounds = 0;

/** Everything made in it carries its name, and goes with it. */
export async function createPlayground(own: Engine = engine()): Promise<Playground> {
  await testImage();
  const project = `t${process.pid.toString(36)}${(Date.now() % 1e6).toString(36)}${playgrounds++}`;
  const signal = new AbortController().signal;
  const images: string[] = [];
  const mark = `noderax.test=${project}`;

  const wants: Playground["wants"] = (services, volumes = [], name = project) =>
    desire({
      metadata: { name },
      spec: {
        services: services.map(({ name: service, image = IMAGE, env = {}, mounts = {} }) => ({
          name: service,
          image,
          env: Object.entries(env).map(([key, value]) => ({ name: key, value })),
          volumeMounts: Object.entries(mounts).map(([volume, mountPath]) => ({ name: volume, mountPath })),
        })),
        volumes: volumes.map((volume) => ({ name: volume, type: "Ephemeral" })),
        ingress: [],
      },
      status: { phase: "Scheduled", nodeRef: "" },
    });

  return {
    project,
    wants,
    async image(script) {
      const name = await imageThat(script, `${project}:${images.length}`);
      images.push(name);
      return name;
    },
    async bringUp({ name, network, services, volumes }) {
      await own.createNetwork(name, network, signal);
      for (const volume of volumes) await own.createVolume(name, volume, signal);
      for (const service of services) await own.createContainer(name, service, "current", network, signal);
      for (const { name: service } of services)
        await own.startContainer(containerName(name, service), signal);
    },
    foreign: (name, ...args) => docker("create", "--name", name, "--label", mark, ...args, IMAGE),
    async byOtherAgent({ name, image, env, mounts }, of = project) {
      const labels = ["--label", `cara.project=${of}`, "--label", `cara.service=${name}`];
      const network = ["--network", networkName(of), "--network-alias", name];
      return docker(
        "run",
        "--detach",
        `--name=${containerName(of, name)}`,
        ...labels,
        ...network,
        ...env.flatMap((one) => ["--env", one]),
        ...mounts.flatMap(({ volume, path }) => ["--volume", `${volume}:${path}`]),
        image,
      );
    },
    async [Symbol.asyncDispose]() {
      // By name rather than by label: what a broken test made without its label goes too.
      const ids = await listed("ps", "--all", "--format", "{{.ID}} {{.Names}} {{.Labels}}");
      if (ids.length > 0) await docker("rm", "--force", "--volumes", ...ids);
      const networks = await listed("network", "ls", "--format", "{{.ID}} {{.Name}}");
      if (networks.length > 0) await docker("network", "rm", ...networks);
      const volumes = await listed("volume", "ls", "--format", "{{.Name}} {{.Name}}");
      if (volumes.length > 0) await docker("volume", "rm", ...volumes);
      if (images.length > 0) await docker("image", "rm", "--force", ...images);
    },
  };

  async function listed(...args: string[]): Promise<string[]> {
    const lines = (await docker(...args)).split("\n").filter((line) => line.includes(project));
    return lines.map((line) => line.split(" ")[0] ?? "");
  }
}
