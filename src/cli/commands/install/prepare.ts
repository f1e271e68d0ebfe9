// What `install` finds out before it changes anything: settings, parts, and which of them differ from what is here.
import { existsSync, readFileSync } from "node:fs";
import { stateDirectory } from "../../../agent/agent.ts";
import type { Config } from "../../../config/load.ts";
import { environmentNames, optionKeys } from "../../../config/options.ts";
import { type Found, hashOf, inspectPath, inspectOptionalPath } from "../../../install/found.ts";
import { partsHere, taskUserOf } from "../../../install/parts.ts";
import { type PackageOwner, packageOwner } from "../../../install/package-owner.ts";
import { STATE_DIRECTORY, places } from "../../../install/places.ts";
import { proxyEnvironment } from "../../../platform/proxy-environment.ts";
import { type Part, type InstallPlan, planInstall } from "../../../install/plan.ts";
import {
  type InitSystem,
  type ServiceState,
  initSystem,
  serviceState,
  systemdInUse,
} from "../../../install/service.ts";
import { AgentError, exit } from "../../../lib/agent-error.ts";
import { findAccount } from "../../../platform/account.ts";
import { configFrom, sourcesFrom } from "../../config-flags.ts";
import { distrustOf } from "../../../platform/trust/root-trust.ts";
import { sharedTexts } from "./shared-texts.ts";
import { type SettingsChange, settingsChange } from "./settings.ts";

export interface Preparation {
  /** As it will be. */
  readonly config: Config;
  readonly settings: SettingsChange;
  readonly init: InitSystem;
  /** The service before. */
  readonly before: ServiceState | undefined;
  readonly parts: readonly Part[];
  readonly found: ReadonlyMap<string, Found>;
  readonly plan: InstallPlan;
  /** The settings as they stand in the file by now, which is all that the service will see. */
  reload(): Promise<Config>;
}

type Args = Readonly<Record<string, unknown>>;

/** Reads the settings and the machine, and plans the installation. Changes no file. */
export async function prepare(args: Args): Promise<Preparation> {
  dropForeignVariables();
  const target = [places.config, places.yaml].find((path) => existsSync(path)) ?? places.config;
  const named = typeof args["config"] === "string" ? args["config"] : undefined;
  const read = { ...args, config: named ?? target };
  const files = { requireFile: named !== undefined };
  const given = await configFrom(read, files);
  const authorities = authoritiesToCopy(given.settings.api_tls_ca_file);
  const copied = authorities === undefined ? undefined : places.authorities;
  const sources = await sourcesFrom({ ...read, ...(copied && { "api-tls-ca-file": copied }) }, files);
  const config = {
    ...given,
    settings: {
      ...given.settings,
      ...(copied && { api_tls_ca_file: copied }),
      // Where an interrupted installation has left its identity, which this one goes on with.
      ...(sources.find("state_file") === undefined && { state_file: places.identity }),
    },
  };
  const settings = await settingsChange(sources, target);
  const init = initSystem();
  const account = findAccount(config.settings.task_user);
  const program = process.execPath;
  const owner = packageOwner();
  if (owner !== undefined && program !== places.program) throw packagedProgram(owner);
  const options = {
    from: program,
    hash: hashOf(readFileSync(program)),
    config: target,
    // Without a setting the service gets the usual place; here the default depends on the working directory.
    stateDirectory:
      sources.find("state_file") === undefined ? STATE_DIRECTORY : stateDirectory(config.settings),
    init,
    systemd: systemdInUse(init),
    user: taskUserOf(config.settings.task_user, account),
    shutdownTimeout: config.settings.shutdown_timeout,
    proxy: proxyEnvironment(process.env),
    authorities,
    shared: await sharedTexts(),
  };
  const hasDropIn = existsSync(places.packageDropIn);
  const parts = partsHere(options, { isPackaged: owner !== undefined, hasDropIn });
  const found = new Map(parts.map((part) => [part.path, lookers[part.kind](part.path)]));
  const plan = planInstall(parts, found);
  const inTheWay = plan.refused.find(({ path }) => path !== places.link);
  if (inTheWay !== undefined)
    throw new AgentError("install.place", `${inTheWay.path} is in the way: ${inTheWay.why}`, {
      hint: "Look at it and move it away.",
      exit: exit.refused,
    });
  const reload = (): Promise<Config> => configFrom({ config: target }, { requireFile: false });
  return { config, settings, init, before: serviceState(init), parts, found, plan, reload };
}

const packagedProgram = ({ manager }: PackageOwner): AgentError =>
  new AgentError(
    "install.packaged",
    `${places.program} is installed by ${manager}: another executable cannot replace it`,
    {
      hint: [
        "Upgrade the package, or set this machine up with its executable:",
        `sudo ${places.program} install`,
      ],
      exit: exit.refused,
    },
  );

/** What a root agent does not trust where it lies, as in somebody's home: the installation keeps a copy of root's. */
function authoritiesToCopy(path: string | undefined): string | undefined {
  if (path === undefined || path === places.authorities || distrustOf(path) === undefined) return undefined;
  try {
    return readFileSync(path, "utf8");
  } catch {
    return undefined; // The caller that needs the file reports it.
  }
}

/** The link is a convenience: where /usr/local is read-only, the agent works without. */
const lookers: Readonly<Record<Part["kind"], (path: string) => Found>> = {
  user: (name) => lookUser(name),
  link: inspectOptionalPath,
  directory: inspectPath,
  program: inspectPath,
  text: inspectPath,
};

/** A user is there or not; what else it is, is its owner's business. */
const lookUser = (name: string): Found =>
  findAccount(name) === undefined ? { kind: "missing" } : { kind: "other" };

/** Variables of general names (DEBUG, NODE_NAME, API_URL) may be meant for other programs, and the service will not have them. */
function dropForeignVariables(): void {
  for (const name of optionKeys.flatMap(environmentNames))
    if (!name.startsWith("NODERAX_") && name !== "DOCKER_HOST") delete process.env[name];
}
