// Reads from the Docker Engine what projects need: its version, a snapshot, and the container that serves a service.
import { ContainerList, Info, type ListedContainer } from "./answers.ts";
import { get } from "./call.ts";
import type { DockerClient } from "./client.ts";
import { type IsRecorded, nameOf, ownerOf, stateOf } from "./observe.ts";
import type { SnapshotReader } from "./snapshot.ts";
import type { EngineReads, ServiceContainer } from "../plan/engine.ts";
import { PROJECT_LABEL, type Role, SERVICE_LABEL, nameInRole, networkName } from "../plan/names.ts";

export function createReads(
  client: DockerClient,
  snapshots: SnapshotReader,
  isRecorded: IsRecorded,
): EngineReads {
  return {
    snapshot: (signal) => snapshots.read(signal),
    async info(signal) {
      client.disconnect();
      const { DockerRootDir: root } = await client.read(Info, get("/info"), signal);
      return { ...(await client.versions(signal)), root };
    },
    async findService(project, service, signal) {
      const label = [`${PROJECT_LABEL}=${project}`, `${SERVICE_LABEL}=${service}`];
      const call = get("/containers/json", { all: true, filters: { label } });
      const listed = await client.read(ContainerList, call, signal);
      const own = listed.filter(({ Id }) => isRecorded(Id));
      return serviceIn(own, project, service);
    },
  };
}

/** During a replacement there is a moment without a current container: the previous one is stopped then. */
const SERVING: readonly Role[] = ["current", "previous"];

/**
 * Returns the container that serves, undefined when there is none. Chosen by its name: the next container of a replacement
 * has the same labels and must not be served. Pure.
 */
export function serviceIn(
  containers: readonly ListedContainer[],
  project: string,
  service: string,
): ServiceContainer | undefined {
  const own = containers.filter((listed) => {
    const owner = ownerOf(listed);
    return owner?.project === project && owner.service === service;
  });
  const serving = SERVING.map((role) =>
    own.find((listed) => nameOf(listed) === nameInRole(project, service, role)),
  ).find((listed) => listed !== undefined);
  if (serving === undefined) return undefined;
  const endpoint = serving.NetworkSettings.Networks[networkName(project)];
  const addresses = [endpoint?.IPAddress, endpoint?.GlobalIPv6Address]
    .map((address) => address ?? "")
    .filter((address) => address !== "");
  return { id: serving.Id, state: stateOf(serving), addresses };
}
