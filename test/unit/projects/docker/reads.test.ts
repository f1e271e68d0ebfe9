// Which container serves a service, and where it is reached.
import { expect, test } from "bun:test";
import { ContainerList, type ListedContainer, parseAnswer } from "../../../../src/projects/docker/answers.ts";
import { serviceIn } from "../../../../src/projects/docker/reads.ts";

interface Made {
  readonly labels?: Record<string, string>;
  readonly networks?: Record<string, object | null>;
}

const OURS = { "cara.project": "shop", "cara.service": "web" };
const ADDRESS = { "cara-shop": { NetworkID: "n1", IPAddress: "10.1.0.2", GlobalIPv6Address: "" } };

/** As Docker lists it. */
function listed(
  name: string,
  state: string,
  { labels = OURS, networks = ADDRESS }: Made = {},
): ListedContainer {
  const container = { Id: `id-${name}`, Names: [`/${name}`], State: state, Labels: labels };
  const [one] = parseAnswer(ContainerList, [{ ...container, NetworkSettings: { Networks: networks } }]);
  if (one === undefined) throw new Error("not read");
  return one;
}

test("the one under the service's own name serves, whatever else carries its labels", () => {
  const containers = [
    listed("shop-web_next", "running"),
    listed("shop-web_previous", "exited"),
    listed("something", "running"),
    listed("shop-web", "running"),
  ];
  expect(serviceIn(containers, "shop", "web")).toEqual({
    id: "id-shop-web",
    state: "running",
    addresses: ["10.1.0.2"],
  });
});

test("a replacement in preparation alone serves nobody", () => {
  expect(serviceIn([listed("shop-web_next", "running")], "shop", "web")).toBeUndefined();
});

test("in the moment between two renames the one before is named, which is stopped", () => {
  const containers = [listed("shop-web_next", "created"), listed("shop-web_previous", "exited")];
  expect(serviceIn(containers, "shop", "web")).toMatchObject({ id: "id-shop-web_previous", state: "exited" });
});

test("the name alone is not enough: service c of project a-b is not service b-c of project a", () => {
  const other = { "cara.project": "a-b", "cara.service": "c" };
  expect(serviceIn([listed("a-b-c", "running", { labels: other })], "a", "b-c")).toBeUndefined();
  expect(serviceIn([listed("shop-web", "running", { labels: {} })], "shop", "web")).toBeUndefined();
});

test("addresses are those on the project's network, IPv4 first", () => {
  const networks = {
    bridge: { NetworkID: "n0", IPAddress: "172.17.0.2", GlobalIPv6Address: "" },
    "cara-shop": { NetworkID: "n1", IPAddress: "10.1.0.2", GlobalIPv6Address: "fd00::2" },
    "cara-other": { NetworkID: "n2", IPAddress: "10.2.0.2", GlobalIPv6Address: null },
  };
  const found = serviceIn([listed("shop-web", "running", { networks })], "shop", "web");
  expect(found?.addresses).toEqual(["10.1.0.2", "fd00::2"]);
  const none = { "cara-shop": { NetworkID: "", IPAddress: "", GlobalIPv6Address: null }, bridge: null };
  const stopped = serviceIn([listed("shop-web", "exited", { networks: none })], "shop", "web");
  expect(stopped?.addresses).toEqual([]);
});
