// The kind log.scan: the end of one of the machine's logs, or what was written to it since the last scan.
//
//   {sourcePresetId, mode?, limits?: {maxLines?, maxBytes?, backfillLines?}, cursor?, runAsRoot?, rootScope?}
//
// Which logs there are is ours to say, so a path never comes from outside. Root only by the operational surface.
import * as v from "valibot";
import { KIB } from "../../lib/size.ts";
import { seconds } from "../../lib/duration.ts";
import { isRoot } from "../../platform/account.ts";
import { LOG_PRESETS } from "../scan/presets.ts";
import { ScanCursor, machineLogs, scanLog, unknownPreset } from "../scan/scan.ts";
import { defineKind } from "./kind.ts";

/** A number above `max` counts as `max`. */
const limit = (max: number, fallback: number) =>
  v.pipe(
    v.nullish(v.pipe(v.number("must be a number"), v.minValue(1, "must be 1 or more")), fallback),
    v.transform((wanted) => Math.min(Math.floor(wanted), max)),
  );

const LINES_MAX = 2_000;
const BYTES_MAX = 256 * KIB;
const BACKFILL_MAX = 500;

const Limits = v.object({
  maxLines: limit(LINES_MAX, 500),
  maxBytes: limit(BYTES_MAX, 64 * KIB),
  backfillLines: v.nullish(limit(BACKFILL_MAX, BACKFILL_MAX)),
});

const Payload = v.object({
  sourcePresetId: v.string("must be a string"),
  mode: v.nullish(v.picklist(["preview", "monitor"], 'must be "preview" or "monitor"'), "preview"),
  limits: v.nullish(Limits, {}),
  cursor: v.fallback(v.nullish(ScanCursor), undefined),
  runAsRoot: v.nullish(v.boolean("must be true or false")),
  // Whatever scope is named, reading a log is operational.
  rootScope: v.nullish(v.string("must be a string")),
});

export const logScanKind = defineKind({
  type: "log.scan",
  allowedBy: "allow_log_scan",
  payload: Payload,
  prepare({ sourcePresetId: preset, mode, limits, cursor, runAsRoot }, { runner }) {
    if (!LOG_PRESETS.has(preset)) return { do: "refuse", text: unknownPreset(preset).message };
    const request = {
      preset,
      mode,
      limits: { lines: limits.maxLines, bytes: limits.maxBytes },
      backfill: limits.backfillLines ?? undefined,
      cursor: cursor ?? undefined,
    };
    // An agent that is not root may read what the kernel lets it read.
    const reader = runAsRoot === true || !isRoot() ? undefined : runner;
    return {
      do: "work",
      ...(runAsRoot === true ? { root: "operational" } : {}),
      reader: reader?.account.name,
      repeatable: true,
      timeout: seconds(60),
      async run({ signal }) {
        return { result: { ...(await scanLog(request, machineLogs(reader), signal)) }, output: "" };
      },
    };
  },
});
