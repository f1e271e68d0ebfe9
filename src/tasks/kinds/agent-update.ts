// The kind agent.update {targetVersion, targetId, rollback}: hands over to an updater that outlives this agent.
//
// The task is done with the hand-over; the updater tells the roll-out how it goes on, and a new version completes it by being
// online.
import * as v from "valibot";
import { seconds } from "../../lib/duration.ts";
import { isRoot } from "../../platform/account.ts";
import { version } from "../../platform/build.ts";
import { AGENT_UNIT } from "../../platform/systemd.ts";
import { startUpdater } from "../../platform/updater-unit.ts";
import { type KindContext, defineKind } from "./kind.ts";

const Payload = v.object({
  targetVersion: v.pipe(
    v.string("must be a string"),
    v.regex(/^\d{1,6}\.\d{1,6}\.\d{1,6}(-[0-9A-Za-z.-]{1,40})?$/, "is no version like 0.3.0"),
  ),
  targetId: v.pipe(v.string("must be a string"), v.uuid("is no id")),
  rollback: v.nullish(v.boolean("must be true or false"), false),
});

export const agentUpdate = defineKind({
  type: "agent.update",
  allowedBy: undefined,
  payload: Payload,
  prepare({ targetVersion, targetId, rollback }, context) {
    const refusal = refusalOf(context);
    if (refusal !== undefined) return { do: "refuse", text: refusal };
    const result = { status: "handoff", targetId, targetVersion, rollback };
    return {
      do: "work",
      exclusive: "agent.update",
      // A second updater finds the version installed, or the first one at work.
      repeatable: true,
      timeout: seconds(30),
      async run({ log }) {
        if (targetVersion === version) {
          log(`version ${version} runs already`);
          return { result };
        }
        const flags = [
          "--version",
          targetVersion,
          "--target-id",
          targetId,
          ...(rollback ? ["--rollback"] : []),
        ];
        await startUpdater(flags, context.settings);
        log(`the update from ${version} to ${targetVersion} was handed over`);
        return { result };
      },
    };
  },
});

function refusalOf({ settings, ownService }: KindContext): string | undefined {
  const { update_allow: allow, update_channel_url: place } = settings;
  if (allow === "off" || allow === "manual")
    return `the owner of this machine allows no updates by the control plane (update_allow is ${allow})`;
  if (place === undefined)
    return "this node has no place to get releases from: set update_channel_url on it, or update it by hand";
  if (!isRoot() || ownService !== AGENT_UNIT)
    return `this agent does not run as ${AGENT_UNIT} under systemd, so nothing could watch a new version: update it by hand (install the new executable)`;
  return undefined;
}
