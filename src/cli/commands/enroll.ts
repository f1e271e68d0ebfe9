// `enroll`: makes this machine a node of a control plane, approved by a person or with a bootstrap token.
import { clearTextWarnings } from "../../agent/clear-text.ts";
import { epochOf, wallNow } from "../../lib/clock.ts";
import { AgentError, type ExitCode, exit, messageOf, hasCode, httpStatusOf } from "../../lib/agent-error.ts";
import { type Duration, humanDuration, seconds } from "../../lib/duration.ts";
import type { Config } from "../../config/load.ts";
import { editConfig } from "../../config/edit.ts";
import { describeOrigin } from "../../config/origin.ts";
import type { OptionKey } from "../../config/options.ts";
import { createHttp } from "../../control/http.ts";
import { type PublicApi, publicApi, withoutApiPrefix } from "../../control/noderax-api.ts";
import { explainTls } from "../../control/tls-peer.ts";
import { trustedAuthorities } from "../../control/trust.ts";
import { enrollmentLocation, locationPorts } from "../../identity/location/location.ts";
import { awaitApproval, consumeBootstrapToken, initiate } from "../../identity/enrollment.ts";
import { beat } from "../../identity/heartbeat.ts";
import {
  type Identity,
  type PendingEnrollment,
  clearPending,
  knownIdentity,
  readPending,
  writeIdentity,
  writePending,
} from "../../identity/identity-file.ts";
import { requireTrusted } from "../../platform/trust/root-trust.ts";
import { reportEnrolled, writeInstall } from "../../identity/install-record.ts";
import { type Host, readHost } from "../../platform/host.ts";
import { type TokenArgs, givenToken, readToken } from "../bootstrap-token.ts";
import { command } from "../command.ts";
import { configFlags, configFrom } from "../config-flags.ts";
import { interruption } from "../interruption.ts";
import { note, paint, print, printError, warn } from "../ui/output.ts";
import { asCalled } from "../program.ts";
import { type Progress, createProgress } from "../ui/progress.ts";
import { type ParsedAnswer, askUntil } from "../ui/prompt.ts";
import { checkStateDirectory } from "../state-directory.ts";

export default command({
  name: "enroll",
  description: "make this machine a node of a control plane",
  examples: [
    "enroll",
    "enroll --api-url https://api.example.com --email ops@example.com",
    "enroll --api-url https://api.example.com --bootstrap-token-file /run/token",
    "enroll --api-url https://api.example.com --bootstrap-token - < token",
  ],
  args: {
    ...configFlags,
    email: { type: "string", description: "e-mail of the person who approves", valueHint: "ADDRESS" },
    hostname: {
      type: "string",
      description: "enroll under this name instead of the machine's",
      valueHint: "NAME",
    },
    "bootstrap-token": {
      type: "string",
      description: "token of an install command; - reads it from stdin",
      valueHint: "TOKEN",
    },
    "bootstrap-token-file": { type: "string", description: "read that token from a file", valueHint: "FILE" },
    force: { type: "boolean", description: "enroll again although this machine has an identity" },
    json: { type: "boolean", description: "print one line of JSON each: the token, then the outcome" },
  },
  async run({ args }): Promise<ExitCode | void> {
    const { signal } = interruption();
    // A named configuration file that does not exist is created.
    const config = await configFrom(args, { requireFile: false });
    const token = await readToken(args);
    return enrollMachine(config, { ...args, token, isToStart: true }, signal);
  },
});

export interface EnrollRequest extends TokenArgs {
  readonly email?: string | undefined;
  readonly hostname?: string | undefined;
  readonly force?: boolean | undefined;
  readonly json?: boolean | undefined;
  readonly token: string | undefined;
  /** Whether the person has to start the agent afterwards, and is knownUrl so. */
  readonly isToStart: boolean;
}

/**
 * Makes this machine a node and saves identity and settings; asks on the terminal for what is missing. Throws an
 * AgentError. Returns another exit code than 0 for a node that is enrolled, but not well.
 */
export async function enrollMachine(
  config: Config,
  args: EnrollRequest,
  signal: AbortSignal,
): Promise<ExitCode | void> {
  // Checked before a token is used up: credentials that cannot be stored would be lost.
  checkStateDirectory(config.settings);
  requireTrusted(config.savePath(), "configuration", { passShared: true });
  const open = openEnrollment(config, args);
  const knownUrl = config.settings.api_url ?? open?.api_url;
  using progress = createProgress(args.json !== true);
  const { token, isToStart } = args;
  const host = hostNamed(args.hostname ?? open?.hostname);
  const context = { config, host, open, signal, progress, isToStart };
  const person = { email: args.email, force: args.force, json: args.json === true };
  if (knownUrl !== undefined) return await enrollAt(withoutApiPrefix(knownUrl), context, token, person);
  for (;;) {
    const typed = withoutApiPrefix(await askUntil("Control plane URL:", "--api-url", urlIn, signal));
    try {
      return await enrollAt(typed, context, token, person);
    } catch (error) {
      // Most likely a typing error: nothing was decided yet, so ask again.
      if (token !== undefined || !(error instanceof AgentError) || !isNoControlPlane(error)) throw error;
      printError(error.message, error.hint);
    }
  }
}

/** What the person gave on the command line; `email` also keeps the answer to the question for it. */
interface Person {
  email: string | undefined;
  readonly force: boolean | undefined;
  readonly json: boolean;
}

async function enrollAt(
  apiUrl: string,
  common: Omit<Context, "apiUrl" | "speak">,
  token: string | undefined,
  person: Person,
): Promise<ExitCode | void> {
  const context: Context = { ...common, apiUrl, speak: { json: person.json } };
  const { settings, origins } = common.config;
  for (const warning of clearTextWarnings({ noderax: apiUrl, caravanserai: undefined }, settings))
    warn(warning);
  const chosen = (origins.get("request_timeout")?.from ?? "default") !== "default";
  try {
    const http = createHttp({
      baseUrl: apiUrl,
      authorities: () => trustedAuthorities(settings.api_tls_ca_file),
    });
    const limit = chosen ? settings.request_timeout : undefined;
    return await enroll(publicApi(http, settings.request_timeout, limit), context, token, person);
  } catch (error) {
    common.progress.stop();
    const explained = withServer(await explainTls(error, apiUrl), apiUrl);
    if (person.json && explained instanceof AgentError)
      print(JSON.stringify({ outcome: outcomeName(explained), message: explained.message }));
    throw explained;
  }
}

/** True when nothing answers at the URL, or something that is not the control plane. */
const isNoControlPlane = ({ code, status }: AgentError): boolean =>
  code.startsWith("net.") ||
  code === "http.foreign" ||
  code === "http.answer" ||
  (code === "http.status" && status === 404);

interface Context {
  readonly config: Config;
  readonly apiUrl: string;
  readonly host: Host;
  readonly open: PendingEnrollment | undefined;
  readonly isToStart: boolean;
  readonly speak: { readonly json: boolean };
  readonly signal: AbortSignal;
  readonly progress: Progress;
}

async function enroll(
  api: PublicApi,
  context: Context,
  bootstrapToken: string | undefined,
  person: Person,
): Promise<ExitCode | void> {
  const { config, host, signal, progress, apiUrl } = context;
  const asking = (problem?: string): void => progress.show({ what: `asking ${apiUrl}`, problem });
  // Not read with --force: the identity file may be damaged.
  const known = person.force ? undefined : knownIdentity(config.settings);
  if (known !== undefined) {
    asking();
    return alreadyEnrolled(api, known, context);
  }
  refuseOutside(config);
  if (bootstrapToken !== undefined) {
    asking();
    const identity = await consumeBootstrapToken(api, bootstrapToken, host.hostname, host, signal, asking);
    writeInstall(config.settings.state_file, { api_url: apiUrl, token: bootstrapToken });
    await finish(identity, context);
    return reportEnrolled(api, bootstrapToken, signal);
  }
  const pending = context.open ?? (await begin(api, person, context, asking));
  announce(pending, context);
  const { state_file: stateFile } = config.settings;
  try {
    const superseded = (): boolean => readPending(stateFile)?.token !== pending.token;
    const hooks = {
      onWait: (waiting: { left: Duration; problem: string | undefined }) =>
        progress.show({ what: "waiting for approval", ...waiting }),
      superseded,
    };
    const identity = await awaitApproval(api, pending, hooks, signal);
    return finish(identity, context);
  } catch (error) {
    // Any decision ends the enrollment: the next call must not continue with a token that is not valid any more.
    const decided =
      error instanceof AgentError && error.code.startsWith("enroll.") && error.code !== "enroll.superseded";
    if (decided) clearPending(stateFile);
    throw error;
  }
}

/** Throws "enroll.identity_outside" for an identity in the environment, `.env` or a flag: it would override the new one. */
function refuseOutside({ origins }: Config): void {
  for (const key of ["node_id", "agent_token"] as const) {
    const origin = origins.get(key);
    if (origin === undefined || origin.from === "file") continue;
    throw new AgentError(
      "enroll.identity_outside",
      `${key} is set by ${describeOrigin(origin)} and would override a new identity`,
      {
        hint: "Remove it there first.",
        exit: exit.usage,
      },
    );
  }
}

/** Reports the existing identity. Throws "enroll.identity_refused" (exit 5) when the control plane does not accept it any more. */
async function alreadyEnrolled(api: PublicApi, identity: Identity, context: Context): Promise<ExitCode> {
  const { config, host, speak, signal, progress } = context;
  const say = (outcome: string, text: string): void => {
    progress.stop();
    if (speak.json) print(JSON.stringify({ outcome, node_id: identity.nodeId }));
    else print(text);
  };
  try {
    await beat(api, identity, host, signal);
    say(
      "already_enrolled",
      `already enrolled as node ${identity.nodeId}; nothing to do (--force enrolls again)`,
    );
    return exit.done;
  } catch (error) {
    const status = httpStatusOf(error);
    if (status !== 401 && status !== 404) {
      say(
        "already_enrolled",
        `already enrolled as node ${identity.nodeId}; not verified: ${messageOf(error)}`,
      );
      return exit.done;
    }
    throw new AgentError(
      "enroll.identity_refused",
      `this machine is enrolled as node ${identity.nodeId}, but the control plane ${status === 404 ? "has no such node any more" : "refuses its token"}`,
      {
        hint: ["Enroll it again:  noderax-agent enroll --force", `Identity: ${config.settings.state_file}`],
        exit: exit.refused,
      },
    );
  }
}

/** Returns an interrupted enrollment that can continue; `undefined` if there is none, or the arguments ask for another one. */
function openEnrollment(
  { settings }: Config,
  args: TokenArgs & { readonly email?: string | undefined; readonly hostname?: string | undefined },
): PendingEnrollment | undefined {
  const pending = readPending(settings.state_file);
  if (pending === undefined || givenToken(args) !== undefined) return undefined;
  const { api_url } = settings;
  const same = (given: string | undefined, begun: string): boolean =>
    given === undefined || given.trim().toLowerCase() === begun;
  if (api_url !== undefined && withoutApiPrefix(api_url) !== pending.api_url) return undefined;
  if (!same(args.email, pending.email) || !same(args.hostname, pending.hostname)) return undefined;
  return Date.parse(pending.expires_at) > epochOf(wallNow()) + seconds(30) ? pending : undefined;
}

async function begin(
  api: PublicApi,
  person: Person,
  context: Context,
  asking: (problem?: string) => void,
): Promise<PendingEnrollment> {
  const { apiUrl, host, config, signal } = context;
  const email = await emailOf(person, signal);
  asking();
  const hostname = host.hostname.toLowerCase();
  const { settings } = config;
  const ports = locationPorts(() => trustedAuthorities(settings.api_tls_ca_file));
  const location = await enrollmentLocation(settings, ports, signal);
  const pending = await initiate(api, { apiUrl, email, hostname, host, location }, signal, asking);
  // Written before the wait begins: from here on an interruption loses nothing.
  writePending(settings.state_file, pending);
  return pending;
}

async function emailOf(person: Person, signal: AbortSignal): Promise<string> {
  if (person.email === undefined) {
    person.email = await askUntil("E-mail of the person who approves:", "--email", emailIn, signal);
    return person.email;
  }
  return emailOfFlag(person.email);
}

/** Returns the address as the control plane has it. Throws "enroll.email" where the value of --email is none. */
export function emailOfFlag(text: string): string {
  const { value, problem } = emailIn(text);
  if (problem === undefined) return value;
  throw new AgentError("enroll.email", `--email: ${problem}`, { exit: exit.usage });
}

function emailIn(text: string): ParsedAnswer<string> {
  const email = text.trim().toLowerCase();
  return /^[^\s@]+@[^\s@]+$/.test(email)
    ? { value: email }
    : { problem: `"${email}" is not an e-mail address` };
}

function announce(pending: PendingEnrollment, { speak, progress }: Context): void {
  progress.stop();
  const left = Date.parse(pending.expires_at) - epochOf(wallNow());
  if (speak.json) {
    const { token, expires_at, email, hostname } = pending;
    return print(JSON.stringify({ outcome: "pending", token, expires_at, email, hostname }));
  }
  note();
  note(`  Token      ${paint.bold(pending.token)}   (expires in ${humanDuration(left)})`);
  note(
    `  Approve    give the token to an administrator of the control plane, who approves it for ${pending.email}`,
  );
}

/** Stores the identity, then the settings that `run` needs. Throws "enroll.not_saved" when the latter fails. */
async function finish(identity: Identity, context: Context): Promise<void> {
  const { config, apiUrl, host, speak, progress } = context;
  progress.stop();
  const { state_file: stateFile } = config.settings;
  writeIdentity(stateFile, identity, new Date());
  clearPending(stateFile);
  const saved = await remember(config, apiUrl).catch((error: unknown) => {
    throw notRemembered(error, identity, host, apiUrl);
  });
  if (speak.json) {
    return print(
      JSON.stringify({
        outcome: "approved",
        node_id: identity.nodeId,
        hostname: host.hostname,
        state_file: stateFile,
      }),
    );
  }
  print(
    `${paint.green("✓")} approved as node ${host.hostname} (${identity.nodeId})   identity saved to ${stateFile}`,
  );
  if (saved !== undefined) print(`  settings saved to ${saved}`);
  if (context.isToStart) print(asCalled("  Start it:  noderax-agent run"));
}

/** The machine is a node now, so enrolling again would be wrong: only its configuration is missing. */
const notRemembered = (error: unknown, { nodeId }: Identity, host: Host, apiUrl: string): AgentError =>
  new AgentError(
    "enroll.not_saved",
    `approved as node ${host.hostname} (${nodeId}), but its configuration was not saved: ${messageOf(error)}`,
    {
      hint: `Start it with:  noderax-agent run --api-url ${apiUrl}`,
      exit: error instanceof AgentError ? error.exit : exit.failed,
      cause: error,
    },
  );

/**
 * Saves the settings that no file or environment gives to `run`, and removes what would override the new identity. Returns the files
 * that changed; `undefined` for none.
 */
async function remember(config: Config, apiUrl: string): Promise<string | undefined> {
  const { origins, settings } = config;
  const changes = new Map<OptionKey, string | undefined>();
  if (origins.get("api_url") === undefined) changes.set("api_url", apiUrl);
  // Only flags: a file, .env and the environment are read by the next command, too.
  for (const key of ["api_url", "state_file", "api_tls_ca_file"] as const) {
    if (origins.get(key)?.from === "flag") changes.set(key, key === "api_url" ? apiUrl : settings[key]);
  }
  if (origins.get("enrollment_token")?.from === "file") changes.set("enrollment_token", undefined);
  // The old identity would override the new one.
  for (const key of ["node_id", "agent_token"] as const)
    if (origins.get(key)?.from === "file") changes.set(key, undefined);
  const files = Map.groupBy(changes, ([key]) => config.savePath(key));
  for (const [path, own] of files) {
    await editConfig({ path, changes: new Map(own), mirror: process.env["NODERAX_CONFIG_MIRROR_FILE"] });
  }
  return files.size === 0 ? undefined : [...files.keys()].join(", ");
}

function hostNamed(name: string | undefined): Host {
  const host = readHost();
  const hostname = (name ?? host.hostname).trim().toLowerCase();
  if (hostname.length < 2) {
    throw new AgentError(
      "enroll.hostname",
      `the hostname "${hostname}" is too short for the control plane (2 characters at least)`,
      {
        hint: "Choose another one:  --hostname NAME",
        exit: exit.usage,
      },
    );
  }
  return { ...host, hostname };
}

function urlIn(answer: string): ParsedAnswer<string> {
  const url = /^[a-z]+:\/\//i.test(answer) ? answer : `https://${answer}`;
  return URL.canParse(url) && /^https?:/.test(url)
    ? { value: url }
    : { problem: `"${answer}" is not an address like https://api.example.com` };
}

/** Names the server in an error it answered with; leaves other errors unchanged. */
function withServer(error: unknown, apiUrl: string): unknown {
  if (!hasCode(error, "http.status")) return error;
  const { code, status, message, exit, cause } = error;
  const hint =
    status === 404
      ? "Check api_url."
      : "The control plane, or a proxy before it, has a failure. Try again later.";
  return new AgentError(code, `${apiUrl} answered ${status}: ${message}`, { status, exit, hint, cause });
}

/** Returns the code without "enroll.": "hostname_exists". Other codes stay. */
const outcomeName = ({ code }: AgentError): string => code.replace(/^enroll\./, "");
