// Where a node stands, from the configuration to the control plane: one that takes it, and one that refuses it.
import { expect, setDefaultTimeout, test } from "bun:test";
import { NODE, TEST_LIMIT, enrolledAgent } from "../support/agent.ts";
import { until } from "../support/until.ts";

setDefaultTimeout(TEST_LIMIT);

const settings = {
  location_manual_region: "Berlin",
  location_manual_latitude: "52.5",
  location_manual_longitude: "13.4",
  realtime_ping_interval: "100ms",
  metrics_interval: "1s",
};
const BERLIN = { provider: "manual", source: "manual", region: "Berlin", latitude: 52.5, longitude: 13.4 };

test("a control plane that takes locations gets it, and `status` says so", async () => {
  await using node = await enrolledAgent({ settings, started: false });
  node.sandbox.setFaults({ acceptLocation: true });
  await node.starts();
  await until("the control plane has it", () => node.sandbox.node(NODE)?.location !== null);
  expect(node.sandbox.node(NODE)).toMatchObject({ status: "online", location: BERLIN });
  await node.statusBecomes("it is reported", ({ noderax }) => noderax?.location?.state === "accepted");
});

test("a control plane that refuses locations is not sent one again, also after a restart", async () => {
  await using node = await enrolledAgent({ settings });
  await node.statusBecomes(
    "it was refused, and the session is back",
    ({ noderax }) =>
      noderax?.location?.state === "refused" &&
      noderax.session?.state === "online" &&
      noderax.session.reconnects === 1,
  );
  await node.stops();
  await node.starts();
  await node.statusBecomes("online again", ({ noderax }) => noderax?.session?.state === "online");
  const before = node.sandbox.metrics(NODE).length;
  await until("the session works", () => node.sandbox.metrics(NODE).length > before + 1);
  await node.statusBecomes(
    "the session has stayed",
    ({ noderax }) => noderax?.session?.reconnects === 0 && noderax.location?.state === "refused",
  );
});
