// Which of the containers with a service's labels serves it, and under which addresses it is reached. Pure.
import type { ListedContainer } from "./answers.ts";
import type { ServiceContainer } from "../plan/engine.ts";
import { type Role, nameInRole, networkName } from "../plan/names.ts";
import { nameOf, ownerOf, stateOf } from "./observe.ts";

/** While one takes the other's place there is a moment without a current one: the one before is stopped then. */
const SERVING: readonly Role[] = ["current", "previous"];

/** By its name: a replacement in preparation carries the same labels, and must not be served. */
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
