// `config show`: prints every setting that has a value, secrets masked, and on demand where each value comes from.
import type { Config } from "../../../config/load.ts";
import { optionKeys, optionOf } from "../../../config/options.ts";
import { describeOrigin } from "../../../config/origin.ts";
import { formatValue } from "../../../config/value.ts";
import { printableIn } from "../../../lib/printable.ts";
import { mask } from "../../../lib/mask.ts";
import type { LocationDocument } from "../../../agent/status.ts";
import { command } from "../../command.ts";
import { configFlags, configFrom } from "../../config-flags.ts";
import { runningAgent } from "../../running-agent.ts";
import { locationText } from "../status.ts";
import { print, printJson, table, warn } from "../../ui/output.ts";

export default command({
  name: "show",
  description: "print the settings that apply",
  examples: ["config show --sources", "config show --json"],
  args: {
    ...configFlags,
    sources: { type: "boolean", description: "say where each value comes from" },
    json: { type: "boolean", description: "print one JSON document" },
  },
  async run({ args }) {
    const config = await configFrom(args);
    for (const warning of config.warnings) warn(warning);
    const rows = shownSettings(config);
    const location = await reportedLocation(config);
    if (args.json)
      return printJson({ ...document(rows, config, args.sources === true), reported_location: location });
    const lines = rows.map(({ key, value, source }) => (args.sources ? [key, value, source] : [key, value]));
    for (const line of table(lines)) print(line);
    if (location !== null) print(`\nlocation: ${locationText(printableIn(location))}`);
  },
});

/** Where the running agent says this node stands; null where none runs, or it does not know. */
async function reportedLocation(config: Config): Promise<LocationDocument | null> {
  const status = await runningAgent(config.settings).catch(() => undefined);
  return status?.noderax?.location ?? null;
}

interface ShownSetting {
  readonly key: string;
  readonly value: string;
  readonly source: string;
}

function shownSettings({ settings, origins }: Config): readonly ShownSetting[] {
  return optionKeys.flatMap((key) => {
    const [value, origin, option] = [settings[key], origins.get(key), optionOf(key)];
    if (value === undefined || origin === undefined) return [];
    const text = formatValue(option, value);
    return [{ key, value: option.secret ? mask(text) : text, source: describeOrigin(origin) }];
  });
}

const document = (rows: readonly ShownSetting[], { files, warnings }: Config, sources: boolean): object => ({
  settings: Object.fromEntries(rows.map(({ key, value }) => [key, value])),
  ...(sources && { sources: Object.fromEntries(rows.map(({ key, source }) => [key, source])) }),
  files: files.map(({ path }) => path),
  warnings,
});
