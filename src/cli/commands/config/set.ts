// `config set`: validates one setting and writes it into the file it belongs to.
import { readFileSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { editConfig } from "../../../config/edit.ts";
import { quoteValue, wrongSettings } from "../../../config/load.ts";
import { type OptionKey, isOptionKey, optionKeys, optionOf } from "../../../config/options.ts";
import { describeOrigin } from "../../../config/origin.ts";
import type { Sources } from "../../../config/sources.ts";
import { parseValue } from "../../../config/value.ts";
import { requireTrusted } from "../../../platform/trust/root-trust.ts";
import { AgentError, exit, messageOf } from "../../../lib/agent-error.ts";
import { quoteIfNeeded } from "../../../lib/text.ts";
import { nearest } from "../../../lib/nearest.ts";
import { places } from "../../../install/places.ts";
import { serviceState } from "../../../install/service.ts";
import { bringUpService, configOfService } from "../service.ts";
import { command } from "../../command.ts";
import { configFlags, sourcesFrom } from "../../config-flags.ts";
import { note, print, warn } from "../../ui/output.ts";
import { usageError } from "../../walk.ts";

export default command({
  name: "set",
  description: "change one setting in the configuration file",
  examples: [
    "config set log_level debug",
    "config set task_timeout 30s --restart",
    "config set agent_token - < token.txt",
    "config set agent_token --value-file token.txt",
    'config set advertise_ip ""        (removes it)',
  ],
  args: {
    ...configFlags,
    key: {
      type: "positional",
      required: true,
      description: "the setting, as `config show` lists it",
      valueHint: optionKeys.join("|"),
    },
    value: {
      type: "positional",
      required: false,
      description: "the new value; - reads standard input, an empty one removes the setting",
    },
    restart: { type: "boolean", description: "restart the installed service, so that it applies" },
    "value-file": { type: "string", valueHint: "PATH", description: "read the value from this file" },
  },
  async run({ args }) {
    const key = knownKey(args.key);
    const text = (await readValue(args.value, args["value-file"])).trim();
    const value = text === "" ? undefined : text;
    const problem = value === undefined ? undefined : parseValue(optionOf(key), value, process.cwd()).problem;
    if (value !== undefined && problem !== undefined) throw wrongSettings([quoteValue(key, value, problem)]);
    const sources = await sourcesFrom(args, { requireFile: false });
    const path = sources.savePath(key);
    const isOfService = serviceState() !== undefined && path === configOfService();
    if (key === "state_file" && isOfService) requireSameState(sources, value);
    requireTrusted(path, "configuration", { passShared: true });
    const warnings = await editConfig({
      path,
      changes: new Map([[key, value]]),
      mirror: process.env["NODERAX_CONFIG_MIRROR_FILE"],
    });
    print(`${key} ${value === undefined ? "removed from" : "saved to"} ${path}`);
    for (const warning of [...warnings, ...overruled(key, sources)]) warn(warning);
    if (optionOf(key).secret && args.value === text && text !== "")
      note(`Other users can read the command line: for a secret use  config set ${key} -`);
    if (optionOf(key).restart === false) return;
    if (args.restart === true && isOfService) {
      await bringUpService("restart");
      return note("The agent was restarted and works.");
    }
    if (args.restart === true) throw notOfService(path);
    note(
      isOfService
        ? "It applies after a restart:  noderax-agent restart   (next time: config set --restart)"
        : "A running agent uses it from its next start.",
    );
  },
});

/** Another directory would begin empty: a node without its identity, which the sandbox of its unit keeps from writing. */
function requireSameState(sources: Sources, value: string | undefined): void {
  const raw = sources.find("state_file")?.raw;
  const present = dirname(typeof raw === "string" ? raw : places.identity);
  const file = value === undefined ? undefined : resolve(value);
  const wanted = file === undefined ? undefined : dirname(file);
  if (wanted === present) return;
  throw new AgentError(
    "service.state",
    `the installed service keeps its state in ${present}: nothing was changed`,
    {
      hint: [
        "With the agent stopped, copy the state, and install with the new place:",
        "noderax-agent stop",
        `mkdir -p ${quoteIfNeeded(wanted ?? "DIRECTORY")} && cp -a ${quoteIfNeeded(`${present}/.`)} ${quoteIfNeeded(wanted ?? "DIRECTORY")}`,
        `noderax-agent install --state-file ${quoteIfNeeded(file ?? "DIRECTORY/agent_identity.json")}`,
      ],
      exit: exit.refused,
    },
  );
}

const notOfService = (path: string): AgentError =>
  new AgentError(
    "service.other_file",
    `saved, but no installed service reads ${path}: nothing was restarted`,
    {
      hint: `The service reads ${configOfService()}: name it with --config.`,
    },
  );

function knownKey(word: string): OptionKey {
  const key = word.replaceAll("-", "_");
  if (isOptionKey(key)) return key;
  const close = nearest(key, optionKeys);
  throw new AgentError(
    "config.unknown",
    `unknown setting ${word}${close === undefined ? "" : ` (did you mean ${close}?)`}`,
    { exit: exit.usage, hint: "List them:  noderax-agent help settings" },
  );
}

async function readValue(argument: string | undefined, file: string | undefined): Promise<string> {
  if (argument !== undefined && file !== undefined) throw usage("give the value or --value-file, not both");
  if (argument === "-") return Bun.stdin.text();
  if (argument !== undefined) return argument;
  if (file === undefined) throw usage("missing <value>");
  try {
    return readFileSync(file, "utf8");
  } catch (error) {
    throw usage(`${file} cannot be read: ${messageOf(error)}`);
  }
}

const usage = (message: string): AgentError => usageError(message, ["config", "set"]);

/** Warns when the environment, `.env` or a flag overrules the file. */
function overruled(key: OptionKey, sources: Sources): string[] {
  const found = sources.find(key);
  if (found === undefined || found.origin.from === "file") return [];
  return [`${describeOrigin(found.origin)} sets ${key} too and overrules the file`];
}
