// What the benches of projects stand on: a machine, a sandbox with both control planes, and a Docker Engine of nobody else's.
import { PROJECT_LABEL } from "../../src/projects/plan/names.ts";
import { type Machine, type Operator, machine, startSandbox, until } from "../support/dev.ts";
import { createPlayground, docker, dockerHost, missing } from "../support/docker.ts";

/** What this computer lacks, in words; undefined when nothing. */
export const unmet: string | undefined =
  missing ?? (dockerHost.startsWith("unix://") ? undefined : "a Docker daemon on a Unix socket");

export const SOCKET = dockerHost.replace("unix://", "");

export interface World extends AsyncDisposable {
  readonly host: Machine;
  readonly sandbox: Operator;
  /** Runs until it is stopped. */
  readonly image: string;
  /** The name of a project that goes with the world. */
  readonly name: (n: number) => string;
}

/** Throws where another agent works with this Docker: what that one does would be measured, too. */
export async function world(): Promise<World> {
  const others = await docker("ps", "--all", "--quiet", "--filter", `label=${PROJECT_LABEL}`);
  if (others !== "") throw new Error(`on ${dockerHost} are containers of another agent`);
  await using stack = new AsyncDisposableStack();
  const playground = stack.use(await createPlayground());
  const host = stack.use(machine());
  const sandbox = stack.use(await startSandbox(host));
  const image = await playground.image("exec sleep 1000000");
  const kept = stack.move();
  return {
    host,
    sandbox,
    image,
    name: (n) => `${playground.project}-${n}`,
    [Symbol.asyncDispose]: () => kept.disposeAsync(),
  };
}

/** Environment of an agent of that name that serves both control planes of the sandbox. */
export const bothPlanes = (
  node: string,
  sandbox: { readonly url: string },
  socket = SOCKET,
): Record<string, string> => ({
  SERVER_URL: sandbox.url,
  NODE_NAME: node,
  DOCKER_HOST: `unix://${socket}`,
});

export function project(name: string, image: string, services: readonly string[] = ["web"]): object {
  const spec = { services: services.map((service) => ({ name: service, image })) };
  return { apiVersion: "caravanserai/v1", kind: "Project", metadata: { name }, spec };
}

interface Seen {
  readonly metadata: { readonly name: string };
  readonly status: { readonly phase?: string; readonly state?: string };
}

/** The phase of each project. */
export const phases = async (sandbox: Operator): Promise<(string | undefined)[]> =>
  ((await sandbox.call("GET", "/cara/projects")) as Seen[]).map(({ status }) => status.phase);

export const untilReady = (sandbox: Operator): Promise<boolean> =>
  until("the node is Ready", async () =>
    ((await sandbox.call("GET", "/cara/nodes")) as Seen[]).some(({ status }) => status.state === "Ready"),
  );

export const untilRunning = (sandbox: Operator, name: string, patience?: number): Promise<boolean> =>
  until(
    `project ${name} is Running`,
    async () => {
      const { status } = (await sandbox.call("GET", `/cara/projects/${name}`)) as Seen;
      return status.phase === "Running";
    },
    patience,
  );
