// Records which functions the agent uses, so that the build lays their bytecode together: less memory, a faster start.
import { readFileSync, writeFileSync } from "node:fs";
import { seconds } from "../../src/lib/duration.ts";
import { enrolled, machine, startSandbox, until } from "../../test/support/dev.ts";
import { elapse } from "../../test/support/until.ts";

const NODE = "profile";
/** Long enough for each loop of an idle agent to have run: the slowest of them takes 10 s. */
const IDLE_FOR = seconds(16);

/**
 * Writes to `file` what dist/noderax-agent uses as the idle agent of both control planes, in `status` and in `version`, in this
 * order. Uses the Docker daemon of `dockerHost` without changing anything there, when there is one.
 */
export async function recordProfile(file: string, dockerHost: string | undefined): Promise<void> {
  using host = machine();
  await using sandbox = await startSandbox(host);
  await enrolled(host, sandbox, NODE);
  const records = ["run", "status", "version"].map((name) => host.at(`${name}.order`));
  const [run = "", status = "", version = ""] = records;
  const planes = {
    SERVER_URL: sandbox.url,
    NODE_NAME: NODE,
    ...(dockerHost === undefined ? {} : { DOCKER_HOST: dockerHost }),
  };
  const agent = host.start(["run"], { env: { ...planes, BUN_BYTECODE_ORDER_OUT: run } });
  await until("the node is online", async () => {
    const nodes = (await sandbox.call("GET", "/nodes")) as { status: string }[];
    return nodes.every((node) => node.status === "online");
  });
  await elapse(IDLE_FOR);
  await host.run(["status"], { env: { BUN_BYTECODE_ORDER_OUT: status } });
  await host.run(["version"], { env: { BUN_BYTECODE_ORDER_OUT: version } });
  // The record is written at the end.
  await agent.stop(seconds(20));
  writeFileSync(file, mergedProfiles(records.map((record) => readFileSync(record, "utf8"))));
}

/** One record of several: the lines of the first, then what the next ones add. Throws for an unknown form. Pure. */
export function mergedProfiles(records: readonly string[]): string {
  const lines = records.map((record) => record.trimEnd().split("\n"));
  const [header = ""] = lines[0] ?? [];
  if (header !== "v2" || lines.some(([first]) => first !== header))
    throw new Error(`the records of bytecode are of form ${header}, not v2`);
  return `${[...new Set(lines.flat())].join("\n")}\n`;
}
