// `update`: exchanges the installed agent for another version, watched, and rolled back when it does not work.
import { stateDirectory } from "../../agent/agent.ts";
import { createProgressReport } from "../../install/update/progress.ts";
import type { Asker, Wanted } from "../../install/update/policy.ts";
import { isVersion } from "../../install/update/release.ts";
import { type Attempt, readUpdateRecord } from "../../install/update/state.ts";
import {
  type Offer,
  type UpdateOrigin,
  type UpdatePorts,
  findOffer,
  prepareUpdate,
} from "../../install/update/update.ts";
import { AgentError, type ExitCode, exit, messageOf } from "../../lib/agent-error.ts";
import { epochOf, isoOf, wallFrom, wallNow } from "../../lib/clock.ts";
import { humanDuration, milliseconds } from "../../lib/duration.ts";
import { sleep } from "../../lib/loop.ts";
import { humanSize } from "../../lib/size.ts";
import { version } from "../../platform/build.ts";
import { command } from "../command.ts";
import { configFlags } from "../config-flags.ts";
import { interruption } from "../interruption.ts";
import { note, paint, print, printJson } from "../ui/output.ts";
import { createProgress } from "../ui/progress.ts";
import { usageError } from "../walk.ts";
import {
  configOfUpdate,
  ownerSettings,
  releasePlaceOf,
  requireUpdatable,
  takeServiceProxy,
  targetOf,
  updatePorts,
} from "./update/context.ts";

export default command({
  name: "update",
  description: "update the installed agent; a version that does not work is rolled back",
  examples: ["update --check", "update", "update --version 0.3.0", "update --rollback"],
  args: {
    ...configFlags,
    check: { type: "boolean", description: "say what is offered, and why it is held back; change nothing" },
    version: { type: "string", description: "this version instead of the newest", valueHint: "VERSION" },
    rollback: { type: "boolean", description: "go back to the version of before, which is kept" },
    "allow-downgrade": { type: "boolean", description: "allow a version older than one that ran here" },
    json: { type: "boolean", description: "print one JSON document" },
    "target-id": { type: "string", description: "for a roll-out: the target to report to", valueHint: "ID" },
    unattended: { type: "boolean", description: "for the agent itself: obeys update_window, asks nobody" },
    "request-file": {
      type: "string",
      description: "what the helper of a Go agent gives; refused",
      valueHint: "FILE",
    },
  },
  async run({ args }): Promise<ExitCode | void> {
    if (args["request-file"] !== undefined) throw ofGoHelper();
    if (args.version !== undefined && !isVersion(args.version))
      throw usageError(`--version: "${args.version}" is no version like 0.3.0`, ["update"]);
    takeServiceProxy();
    const config = await configOfUpdate(args);
    const { settings } = config;
    const by: Asker = args["target-id"] !== undefined ? "control-plane" : args.unattended ? "agent" : "owner";
    const wanted: Wanted = {
      by,
      version: args.version,
      allowDowngrade: args["allow-downgrade"] === true || args.rollback === true,
    };
    const { signal } = interruption();
    const target = targetOf(settings, args["target-id"]);
    const report = createProgressReport(target, note, signal);
    using bar = createProgress(!args.json && by === "owner");
    const progress = (done: number, all: number): void =>
      bar.show({ what: `downloading ${humanSize(done)} of ${humanSize(all)}` });
    const ports = updatePorts(config, releasePlaceOf(settings), { report, note, progress });
    const owner = ownerSettings(settings);
    if (args.check) {
      const offer = await findOffer(
        ports,
        { ...wanted, by: owner.allow === "auto" ? "agent" : by },
        owner,
        signal,
      );
      return args.json ? printJson(documentOf(offer)) : showOffer(offer);
    }
    const origin = await prepared().catch(async (error: unknown) => {
      await report.failed(`Not updated: ${messageOf(error)}.`);
      throw error;
    });
    if (typeof origin === "string") {
      if (args.json) printJson({ version, outcome: "nothing", reason: origin });
      else print(origin);
      return;
    }
    await prepareUpdate(origin, target, ports, signal);
    bar.stop();
    if (by !== "owner") return;
    return follow(stateDirectory(settings), args.json === true, bar, signal);

    async function prepared(): Promise<UpdateOrigin | string> {
      requireUpdatable(ports.stateDirectory);
      return originOf(ports, wanted, args.rollback === true, owner, signal);
    }
  },
});

const ofGoHelper = (): AgentError =>
  new AgentError("go.helper", "an update through a helper of the Go agent is not supported by this agent", {
    hint: [
      "It needs no helpers: it runs as root itself. Take over this installation, which removes them:",
      "sudo noderax-agent install",
    ],
    exit: exit.refused,
  });

/** Returns where the new executable comes from, or why there is nothing to do. */
async function originOf(
  ports: UpdatePorts,
  wanted: Wanted,
  rollback: boolean,
  owner: ReturnType<typeof ownerSettings>,
  signal: AbortSignal,
): Promise<UpdateOrigin | string> {
  const { previous } = readUpdateRecord(ports.stateDirectory);
  const isKept = previous !== undefined && previous.version !== version;
  if (rollback && isKept && (wanted.version ?? previous.version) === previous.version) {
    const allowed = owner.allow !== "off" && (owner.pin ?? previous.version) === previous.version;
    if (allowed) return { from: "previous", ...previous };
  }
  if (rollback && wanted.version === undefined && !isKept)
    throw new AgentError("update.version", "no version of before is kept here", {
      hint: "Name one:  noderax-agent update --version 0.2.0 --allow-downgrade",
      exit: exit.refused,
    });
  const offer = await findOffer(ports, wanted, owner, signal);
  const { choice, release, sources } = offer;
  if (choice.do === "nothing") return `version ${choice.version} is up to date`;
  if (choice.do === "hold") return `version ${choice.version} is held back: ${choice.why}`;
  if (choice.do === "refuse")
    throw new AgentError("update.forbidden", choice.why, { hint: choice.hint, exit: exit.refused });
  if (release === undefined) throw new AgentError("update.version", `version ${choice.version} is gone`);
  return { from: "place", release, sources };
}

const DOWNTIME = "about 1 s; tasks and containers go on, open terminals are closed";

function showOffer({ choice, release, sources }: Offer): void {
  if (choice.do === "nothing") return print(`${version} is up to date`);
  if (choice.do === "refuse") {
    print(`${version} runs; held back: ${choice.why}`);
    return print(`  ${choice.hint}`);
  }
  print(`${version} → ${paint.green(choice.version)}`);
  const [source] = sources;
  if (source !== undefined) print(`  download   ${humanSize(source.artefact.size)} (${source.by})`);
  print(`  downtime   ${DOWNTIME}`);
  for (const { title, items } of release?.notes ?? []) {
    print(`  ${title}`);
    for (const item of items) print(`    - ${item}`);
  }
  if (choice.do === "hold") {
    const until = choice.until === undefined ? "" : ` until ${new Date(choice.until).toLocaleString("sv")}`;
    print(`  ${paint.yellow("held back")}${until}: ${choice.why}`);
  }
  print(
    choice.do === "hold"
      ? "  Now all the same:  noderax-agent update"
      : "  Install it:  noderax-agent update",
  );
}

const documentOf = ({ choice, release, sources }: Offer): object => ({
  current: version,
  offered: choice.do === "refuse" || choice.do === "nothing" ? null : choice.version,
  up_to_date: choice.do === "nothing",
  held_back: choice.do === "hold" || choice.do === "refuse" ? choice.why : null,
  until: choice.do === "hold" && choice.until !== undefined ? isoOf(wallFrom(choice.until)) : null,
  bytes: sources[0]?.artefact.size ?? null,
  by: sources[0]?.by ?? null,
  downtime_seconds: 1,
  notes: release?.notes ?? [],
});

/** Shows what the watcher does until the update is over. Interrupted, it goes on without us. */
async function follow(
  directory: string,
  json: boolean,
  bar: ReturnType<typeof createProgress>,
  signal: AbortSignal,
): Promise<ExitCode> {
  let attempt: Attempt | undefined;
  for (; !signal.aborted; await sleep(milliseconds(200), signal)) {
    attempt = readUpdateRecord(directory).attempt;
    if (attempt === undefined || attempt.phase === "over") break;
    bar.show({ what: attempt.note || attempt.phase });
  }
  bar.stop();
  if (signal.aborted) {
    note("The update goes on in the background:  noderax-agent status");
    return exit.interrupted;
  }
  if (attempt === undefined) return exit.failed;
  const { outcome, reason, from, to } = attempt;
  if (json) printJson({ from, to, outcome, reason: reason || null });
  if (outcome === "confirmed" || outcome === "unproven") {
    const took = humanDuration(epochOf(wallNow()) - Date.parse(attempt.startedAt));
    if (!json)
      print(
        outcome === "confirmed"
          ? `${paint.green("✓")} ${to} runs in place of ${from} (${took})`
          : `${to} is kept, although unproven: ${reason}`,
      );
    return outcome === "confirmed" ? exit.done : exit.degraded;
  }
  throw new AgentError(
    "update.failed",
    `${to} was ${outcome === "rolled back" ? `rolled back to ${from}` : "not installed"}: ${reason}`,
    {
      hint: "Its log:  noderax-agent logs --agent --tail 50",
    },
  );
}
