// Reads the sources of settings in their order, and looks up a key in them.
import { dirname, resolve } from "node:path";
import { AgentError, exit } from "../lib/agent-error.ts";
import { parseDotenv } from "./dotenv.ts";
import {
  type ConfigFile,
  type FileEntry,
  type OpenedFile,
  type Reading,
  type SearchPaths,
  configFile,
  distrusted,
  findFile,
  openFile,
  openTrusted,
  readTrustedFile,
  searchPaths,
} from "./files.ts";
import { type OptionKey, environmentNames, flagNames, isOptionKey, optionKeys, optionOf } from "./options.ts";
import type { SettingOrigin } from "./origin.ts";
import { type RawValue, isUnset } from "./value.ts";

export type Environment = Readonly<Record<string, string | undefined>>;

export interface LoadOptions {
  /** Settings given as flags, as text. */
  readonly flags?: ReadonlyMap<OptionKey, string>;
  /** `--config FILE`: the only file read, like `$NODERAX_CONFIG_FILE`. */
  readonly configFile?: string;
  readonly env: Environment;
  readonly cwd: string;
  /** The name the program was called by; "cara-agent" runs the caravanserai plane alone. */
  readonly invokedAs?: string;
  /** Default true: a named file that is missing is an error. Commands that write it pass false. */
  readonly requireFile?: boolean;
  /**
   * As root, take over configuration that a service user owns in the agent's own directory. Only `run` does.
   */
  readonly takeOver?: boolean;
  readonly search?: SearchPaths;
}

export interface FoundValue {
  readonly raw: RawValue;
  readonly origin: Exclude<SettingOrigin, { from: "default" }>;
}

export interface Sources {
  /** Returns the value of the last source that sets the key; undefined leaves the default. */
  readonly find: (key: OptionKey) => FoundValue | undefined;
  readonly files: readonly ConfigFile[];
  readonly warnings: readonly string[];
  /** Directory of the file that `--config` or NODERAX_CONFIG_FILE names. */
  readonly namedDirectory: string | undefined;
  /**
   * Returns the file to write a new value for `key` to: the one that has the key, else the first that was
   * read, else the named one, else ./config.json, or ./config.local.json where that is not ours.
   */
  readonly savePath: (key?: OptionKey) => string;
}

type Layer = (key: OptionKey) => FoundValue | undefined;

/** Reads all sources. Throws an AgentError for a file that is malformed, unreadable, or named but missing. */
export async function readSources(options: LoadOptions): Promise<Sources> {
  const { env, cwd } = options;
  const warnings: string[] = [];
  const reading: Reading = { takeOver: options.takeOver ?? false, warnings, passedOver: new Set() };
  const named = options.configFile ?? (env["NODERAX_CONFIG_FILE"] || undefined);
  const namedPath = named === undefined ? undefined : resolve(cwd, named);
  const stored =
    namedPath === undefined
      ? await searchFiles(options.search ?? searchPaths, cwd, reading)
      : await namedFile(namedPath, options, reading);
  const dotenv = readDotenv(cwd, reading);
  const files = dotenv ? [...stored, dotenv] : stored;
  const layers: readonly Layer[] = [
    flagLayer(options.flags ?? new Map()),
    environmentLayer(env),
    ...(dotenv ? [dotenvLayer(dotenv)] : []),
    ...stored.toReversed().map(fileLayer),
  ];
  warnings.push(
    ...files
      .filter(isExposedSecret)
      .map(({ path }) => `${path} holds secrets and others may read it: chmod 600 ${path}`),
  );
  return {
    files,
    warnings,
    namedDirectory: namedPath && dirname(namedPath),
    find(key) {
      for (const layer of layers) {
        const found = layer(key);
        if (found && !isUnset(found.raw, optionOf(key))) return found;
      }
      return undefined;
    },
    savePath(key) {
      const holder = stored.findLast(({ entries }) => entries.some((entry) => entry.key === key));
      return (holder ?? stored.at(-1))?.path ?? namedPath ?? freePath(cwd, reading);
    },
  };
}

/** Returns the path for a new file. Throws an AgentError when files of other programs have all of them. */
function freePath(cwd: string, { passedOver }: Reading): string {
  const places = ["config.json", "config.local.json", "config/config.json"].map((name) => resolve(cwd, name));
  const free = places.find((path) => !passedOver.has(path));
  if (free !== undefined) return free;
  throw new AgentError(
    "config.place",
    `${cwd} has no place for a configuration file: other programs have theirs there`,
    {
      exit: exit.usage,
      hint: "Name one:  --config /etc/noderax-agent/config.json",
    },
  );
}

/** Returns at most one YAML and one JSON file, in the order in which they apply. */
async function searchFiles(
  search: SearchPaths,
  cwd: string,
  reading: Reading,
): Promise<readonly ConfigFile[]> {
  const yaml = await findFile(search.yaml, cwd, reading);
  const json = await findFile(search.json, cwd, reading);
  return [yaml, json].filter((file) => file !== undefined);
}

async function namedFile(
  path: string,
  { configFile, requireFile = true }: LoadOptions,
  reading: Reading,
): Promise<readonly ConfigFile[]> {
  const file = await readTrustedFile(path, reading);
  if (file) return [file];
  if (!requireFile) return [];
  const by = configFile === undefined ? "NODERAX_CONFIG_FILE" : "--config";
  throw new AgentError("config.missing", `there is no ${path}, named by ${by}`, {
    exit: exit.usage,
    hint: "make it with: noderax-agent config set <key> <value>",
  });
}

function readDotenv(cwd: string, reading: Reading): ConfigFile | undefined {
  const path = resolve(cwd, ".env");
  const first = openFile(path);
  if (first === undefined || dotenvEntries(first).length === 0) return undefined;
  const distrust = distrusted(path, first, 0o022);
  if (distrust !== undefined) {
    reading.warnings.push(`${path} is not read: ${distrust}`);
    return undefined;
  }
  const opened = openTrusted(path, reading);
  return opened && configFile(path, "dotenv", dotenvEntries(opened), opened);
}

const dotenvEntries = ({ text }: OpenedFile): FileEntry[] =>
  parseDotenv(text)
    .filter(({ name }) => ourNames.has(name))
    .map(({ name, value, line }) => ({ key: name, value, line }));

/** Returns all variables that set something. */
const ourNames: ReadonlySet<string> = new Set(optionKeys.flatMap(environmentNames));

const secretNames: ReadonlySet<string> = new Set(
  optionKeys.filter((key) => optionOf(key).secret).flatMap((key) => [key, ...environmentNames(key)]),
);

const isExposedSecret = ({ exposed, entries }: ConfigFile): boolean =>
  exposed && entries.some(({ key, value }) => secretNames.has(key) && !isUnset(value));

const flagLayer =
  (flags: ReadonlyMap<OptionKey, string>): Layer =>
  (key) => {
    const raw = flags.get(key);
    return raw === undefined ? undefined : { raw, origin: { from: "flag", name: flagNames(key)[0] } };
  };

const environmentLayer =
  (env: Environment): Layer =>
  (key) => {
    const name = environmentNames(key).find((name) => !isUnset(env[name] ?? null, optionOf(key)));
    return name === undefined ? undefined : { raw: env[name] ?? null, origin: { from: "environment", name } };
  };

function dotenvLayer({ path, entries }: ConfigFile): Layer {
  const values = new Map(entries.map(({ key, ...entry }) => [key, entry]));
  return (key) => {
    const name = environmentNames(key).find(
      (name) => !isUnset(values.get(name)?.value ?? null, optionOf(key)),
    );
    const entry = name === undefined ? undefined : values.get(name);
    if (name === undefined || entry === undefined) return undefined;
    return { raw: entry.value, origin: { from: "dotenv", path, line: entry.line, name } };
  };
}

function fileLayer({ path, entries }: ConfigFile): Layer {
  const values = new Map(
    entries.filter(({ key }) => isOptionKey(key)).map(({ key, ...entry }) => [key, entry]),
  );
  return (key) => {
    const entry = values.get(key);
    return entry && { raw: entry.value, origin: { from: "file", path, line: entry.line } };
  };
}
