// `sandbox faults`: shows and changes the faults that the sandbox injects.
import * as v from "valibot";
import { AgentError, exit } from "../../../lib/agent-error.ts";
import { command } from "../../command.ts";
import { note, print, printJson, table } from "../../ui/output.ts";
import { operator, operatorArgs } from "./client.ts";

const Faults = v.record(v.string(), v.unknown());
const Disconnected = v.object({ disconnected: v.number() });
const OFF = {
  delay: 0,
  error_rate: 0,
  lost_answers: 0,
  drop_after: null,
  freeze: false,
  database_down: false,
  routes: null,
  seed: null,
  websocket_blocked: false,
  task_dispatch: false,
  accept_location: false,
};

export default command({
  name: "faults",
  description: "show or change the faults the sandbox injects",
  examples: [
    "sandbox faults",
    "sandbox faults --delay 200ms --lost-answers 0.1",
    "sandbox faults --database-down",
    "sandbox faults --error-rate 1 --routes logs,completed",
    "sandbox faults --lost-answers 1 --routes realtime.ping",
    "sandbox faults --drop-sockets",
    "sandbox faults --off",
  ],
  args: {
    delay: { type: "string", description: "wait before every request", valueHint: "200ms" },
    "error-rate": { type: "string", description: "share of requests answered with 500", valueHint: "0…1" },
    "lost-answers": {
      type: "string",
      description: "share of requests that are processed but not answered",
      valueHint: "0…1",
    },
    "drop-after": {
      type: "string",
      description: "close every connection after this many requests",
      valueHint: "count",
    },
    freeze: {
      type: "boolean",
      description: "answer nothing; requests are handled after --off, in any order",
    },
    "database-down": { type: "boolean", description: "answer as an API that has lost its database" },
    "websocket-blocked": {
      type: "boolean",
      description: "refuse new WebSockets with 403, as some proxies do",
    },
    "task-dispatch": { type: "boolean", description: "push queued tasks over the realtime session" },
    "accept-location": {
      type: "boolean",
      description: "take the location of nodes, as some versions of the API do",
    },
    "drop-sockets": {
      type: "boolean",
      description: "close the agents' realtime sockets now; they may reconnect at once",
    },
    routes: {
      type: "string",
      description: "inject faults into these routes and realtime events only",
      valueHint: "claim,realtime.auth",
    },
    seed: {
      type: "string",
      description: "seed of the random numbers, for repeatable faults",
      valueHint: "number",
    },
    off: { type: "boolean", description: "remove all faults" },
    ...operatorArgs,
  },
  async run({ args }) {
    const change = {
      ...(args.off ? OFF : {}),
      ...faultChange(args),
      ...switchesOf(args),
      ...(args.routes === undefined ? {} : { routes: args.routes.split(",").map((name) => name.trim()) }),
      ...(args.seed === undefined ? {} : { seed: numberOf("--seed", args.seed) }),
    };
    const sandbox = operator(args);
    if (args["drop-sockets"]) {
      const { disconnected } = await sandbox.call("POST", "/sockets/disconnect", Disconnected, {});
      note(`${disconnected} ${disconnected === 1 ? "socket" : "sockets"} closed`);
    }
    const faults =
      Object.keys(change).length === 0
        ? await sandbox.call("GET", "/faults", Faults)
        : await sandbox.call("PUT", "/faults", Faults, change);
    if (args.json) return printJson(faults);
    const rows = Object.entries(faults).map(([name, value]) => [
      name.replaceAll("_", "-"),
      shown(name, value),
    ]);
    for (const line of table(rows)) print(line);
    if (Object.keys(change).length === 0)
      note("Change them with the flags of the same names; --off removes all.");
  },
});

/** Returns the switches among the flags, as the sandbox names them. */
function switchesOf(args: {
  readonly freeze?: boolean | undefined;
  readonly "database-down"?: boolean | undefined;
  readonly "websocket-blocked"?: boolean | undefined;
  readonly "task-dispatch"?: boolean | undefined;
  readonly "accept-location"?: boolean | undefined;
}): Record<string, boolean> {
  const given = Object.entries({
    freeze: args.freeze,
    database_down: args["database-down"],
    websocket_blocked: args["websocket-blocked"],
    task_dispatch: args["task-dispatch"],
    accept_location: args["accept-location"],
  });
  return Object.fromEntries(given.flatMap(([name, value]) => (value === undefined ? [] : [[name, value]])));
}

interface FaultArgs {
  readonly delay?: string | undefined;
  readonly "error-rate"?: string | undefined;
  readonly "lost-answers"?: string | undefined;
  readonly "drop-after"?: string | undefined;
}

/** Returns the numeric faults among the flags, as the sandbox names them. Throws "cli.usage" for what is not a number. */
export function faultChange(args: FaultArgs): Record<string, unknown> {
  const given = {
    delay: args.delay,
    error_rate: numberOf("--error-rate", args["error-rate"]),
    lost_answers: numberOf("--lost-answers", args["lost-answers"]),
    drop_after: numberOf("--drop-after", args["drop-after"]),
  };
  return Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined));
}

function numberOf(flag: string, text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const value = text.trim() === "" ? Number.NaN : Number(text);
  if (Number.isFinite(value)) return value;
  throw new AgentError("cli.usage", `${flag}: "${text}" is not a number`, { exit: exit.usage });
}

function shown(name: string, value: unknown): string {
  // `drop_after` 0 drops every connection at once: the only zero that is a fault.
  const off = value === null || value === false || value === "0s" || (value === 0 && name !== "drop_after");
  if (off) return name === "routes" ? "all" : "off";
  if (Array.isArray(value)) return value.join(", ");
  return typeof value === "string" ? value : JSON.stringify(value);
}
