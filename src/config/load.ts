// Makes the settings from their sources: the last source wins, and all wrong values are reported at once.
import { AgentError, exit } from "../lib/agent-error.ts";
import { mask } from "../lib/mask.ts";
import { nearest } from "../lib/nearest.ts";
import type { ConfigFile } from "./files.ts";
import type { Option, OptionValue, Plane } from "./option.ts";
import { type OptionKey, type Settings, isOptionKey, optionKeys, optionOf } from "./options.ts";
import { type SettingOrigin, describeOrigin } from "./origin.ts";
import { type FoundValue, type LoadOptions, readSources } from "./sources.ts";
import { type RawValue, parseValue } from "./value.ts";

export type { Environment, LoadOptions } from "./sources.ts";

export interface Config {
  readonly settings: Settings;
  /** Source of each value; no entry for a setting without a value. */
  readonly origins: ReadonlyMap<OptionKey, SettingOrigin>;
  readonly files: readonly ConfigFile[];
  /** Warnings for the owner that do not stop the agent. */
  readonly warnings: readonly string[];
  /** The configured control planes; under the name cara-agent only caravanserai. */
  readonly planes: readonly Plane[];
  /** The file `config set` and `enroll` write. */
  readonly savePath: (key?: OptionKey) => string;
}

const CARA_AGENT = "cara-agent";

/** Reads all sources. Throws one AgentError (exit 2) that names every wrong value and unknown key. */
export async function loadConfig(options: LoadOptions): Promise<Config> {
  const sources = await readSources(options);
  const warnings = [...sources.warnings];
  const problems = sources.files.flatMap(unknownKeys);
  const values = new Map<OptionKey, OptionValue>();
  const origins = new Map<OptionKey, SettingOrigin>();
  for (const key of optionKeys) readSetting(key);
  if (values.get("debug") === true) {
    values.set("log_level", "debug");
    origins.set("log_level", origins.get("debug") ?? { from: "default" });
  }
  problems.push(...locationProblems(values), ...listenerProblems(values));
  if (problems.length > 0) throw wrongSettings(problems);
  return {
    // Each key was read above by its row of the table, from which the type is derived.
    settings: Object.fromEntries(optionKeys.map((key) => [key, values.get(key)])) as unknown as Settings,
    origins,
    files: sources.files,
    warnings,
    planes: planesOf(values, options.invokedAs),
    savePath: (key) => sources.savePath(key),
  };

  function readSetting(key: OptionKey): void {
    const option = optionOf(key);
    const found = sources.find(key);
    if (found) {
      const parsed = parseValue(option, found.raw, options.cwd, relativeTo(found.origin));
      if (parsed.problem === undefined) return accept(key, found, parsed.value);
      const text = describeProblem(key, found, parsed.problem);
      if (!option.lenient) return void problems.push(text);
      warnings.push(`${text}; the default applies`);
    }
    const fallback = defaultOf(option, options, sources.namedDirectory);
    if (fallback === undefined) return;
    values.set(key, fallback);
    origins.set(key, { from: "default" });
  }

  /** Returns the directory in which relative paths of a named file are tried first. */
  function relativeTo(origin: SettingOrigin): string | undefined {
    return origin.from === "file" ? sources.namedDirectory : undefined;
  }

  function accept(key: OptionKey, found: FoundValue, value: OptionValue): void {
    values.set(key, value);
    origins.set(key, found.origin);
    const caution = cautionOf(optionOf(key), value);
    if (caution !== undefined) warnings.push(describeProblem(key, found, caution));
  }
}

/** Returns the parsed default, which depends on the name of the program; undefined without a default. */
function defaultOf(
  option: Option,
  { invokedAs, cwd }: LoadOptions,
  namedDirectory: string | undefined,
): OptionValue | undefined {
  const cara = option.type === "url" && invokedAs === CARA_AGENT ? option.caraDefault : undefined;
  const raw = cara ?? option.default;
  return raw === undefined ? undefined : parseValue(option, raw, cwd, namedDirectory).value;
}

function cautionOf(option: Option, value: OptionValue): string | undefined {
  if (option.type === "boolean" && typeof value === "boolean") return option.warn?.(value);
  if (option.type === "duration" && typeof value === "number") return option.warn?.(value);
  return undefined;
}

/** `heartbeat_interval: "30" is not a duration (give a unit: …), from environment HEARTBEAT_INTERVAL` */
function describeProblem(key: OptionKey, { raw, origin }: FoundValue, problem: string): string {
  return `${quoteValue(key, raw, problem)}, from ${describeOrigin(origin)}`;
}

/** Returns a message with the value, masked if it is secret, and what is wrong with it. */
export function quoteValue(key: OptionKey, raw: RawValue, problem: string): string {
  const text = typeof raw === "object" ? JSON.stringify(raw) : String(raw);
  const shown = optionOf(key).secret ? mask(text) : text.length > 80 ? `${text.slice(0, 77)}…` : text;
  return `${key}: "${shown}" ${problem}`;
}

// Number of unknown keys to report: a wrong file has as many as it has lines.
const MOST_UNKNOWN = 10;

function unknownKeys({ kind, path, entries }: ConfigFile): string[] {
  if (kind === "dotenv") return [];
  const unknown = entries.filter(({ key }) => !isOptionKey(key));
  return unknown.slice(0, MOST_UNKNOWN).map(({ key, line }) => {
    const close = nearest(key.slice(0, 64), optionKeys);
    const shown = JSON.stringify(key.slice(0, 64)).slice(1, -1);
    return `${path}:${line}: unknown key ${shown}${close === undefined ? "" : ` (did you mean ${close}?)`}`;
  });
}

function locationProblems(values: ReadonlyMap<OptionKey, OptionValue>): string[] {
  const needed = ["location_manual_region", "location_manual_latitude", "location_manual_longitude"] as const;
  const missing = needed.filter((key) => !values.has(key));
  const any = missing.length < needed.length || values.has("location_manual_zone");
  return any && missing.length > 0 ? [`a location by hand needs ${missing.join(" and ")} too`] : [];
}

function listenerProblems(values: ReadonlyMap<OptionKey, OptionValue>): string[] {
  const [cert, key] = [values.has("listen_tls_cert"), values.has("listen_tls_key")];
  return cert === key ? [] : ["listen_tls_cert and listen_tls_key need each other"];
}

/** Returns "config.invalid" for one problem, or for several with each as a hint. */
export function wrongSettings(problems: readonly string[]): AgentError {
  const [first = ""] = problems;
  return problems.length === 1
    ? new AgentError("config.invalid", first, { exit: exit.usage })
    : new AgentError("config.invalid", `${problems.length} settings are wrong`, {
        exit: exit.usage,
        hint: problems,
      });
}

function planesOf(
  values: ReadonlyMap<OptionKey, OptionValue>,
  invokedAs: string | undefined,
): readonly Plane[] {
  if (invokedAs === CARA_AGENT) return ["caravanserai"];
  return [
    ...(values.has("api_url") ? (["noderax"] as const) : []),
    ...(values.has("server_url") ? (["caravanserai"] as const) : []),
  ];
}
