// What the update commands work with on this machine: the service's settings, the place, the executables.
import { existsSync, readFileSync } from "node:fs";
import { stateDirectory } from "../../../agent/agent.ts";
import type { Config } from "../../../config/load.ts";
import type { Settings } from "../../../config/options.ts";
import { withoutApiPrefix } from "../../../control/noderax-api.ts";
import { trustedAuthorities } from "../../../control/trust.ts";
import { packageOwner } from "../../../install/package-owner.ts";
import { places } from "../../../install/places.ts";
import { initSystem, serviceState } from "../../../install/service.ts";
import type { UpdatePaths } from "../../../install/update/files.ts";
import type { Place } from "../../../install/update/place.ts";
import { probe } from "../../../install/update/probe.ts";
import { buildName } from "../../../install/update/release.ts";
import type { UpdateTarget } from "../../../install/update/state.ts";
import { type UpdatePorts, requireIdle } from "../../../install/update/update.ts";
import { reviveWatcher, startWatcher } from "../../../install/update/watch-unit.ts";
import { AgentError, exit } from "../../../lib/agent-error.ts";
import { parseWindow } from "../../../lib/time-window.ts";
import { isRoot } from "../../../platform/account.ts";
import { rootKeys, version } from "../../../platform/build.ts";
import { proxyEnvironment } from "../../../platform/proxy-environment.ts";
import { configFrom } from "../../config-flags.ts";
import { configOfService } from "../service.ts";

export const UPDATE_PATHS: UpdatePaths = {
  program: places.program,
  previous: places.previous,
  downloads: places.downloads,
};

/** Takes the service's proxy where the caller's environment, as that of sudo, has none. */
export function takeServiceProxy(): void {
  if (proxyEnvironment(process.env) !== undefined || !existsSync(places.proxy)) return;
  try {
    for (const [, name = "", value] of readFileSync(places.proxy, "utf8").matchAll(/^([A-Z_]+)='([^']*)'$/gm))
      process.env[name] ??= value;
  } catch {
    // Only root may read it, and only root can update.
  }
}

/** The configuration of the installed service, or the one that the flags name. */
export function configOfUpdate(args: Readonly<Record<string, unknown>>): Promise<Config> {
  const named = typeof args["config"] === "string";
  const isService =
    !named && process.env["NODERAX_CONFIG_FILE"] === undefined && existsSync(configOfService());
  return configFrom(isService ? { ...args, config: configOfService() } : args);
}

/** Returns the place of the releases. Throws "update.none" without one. */
export function releasePlaceOf({ update_channel_url: url, api_tls_ca_file: caFile }: Settings): Place {
  if (url === undefined)
    throw new AgentError("update.none", "no place for releases is set (update_channel_url)", {
      hint: "Set it:  noderax-agent config set update_channel_url https://…/releases",
      exit: exit.usage,
    });
  return { url: url.replace(/\/+$/, ""), authorities: () => trustedAuthorities(caFile) };
}

/** What the owner allows. */
export const ownerSettings = ({ update_allow: allow, update_pin: pin, update_window: window }: Settings) => ({
  allow,
  pin,
  window: window === undefined ? undefined : parseWindow(window),
});

/** Where to report a target of a roll-out. */
export function targetOf(settings: Settings, id: string | undefined): UpdateTarget | undefined {
  const { api_url: apiUrl, state_file: stateFile, api_tls_ca_file: caFile } = settings;
  if (id === undefined || apiUrl === undefined) return undefined;
  return { id, apiUrl: withoutApiPrefix(apiUrl), stateFile, ...(caFile === undefined ? {} : { caFile }) };
}

/** Throws "update.service" where this machine cannot exchange the executable, with what to do instead; "update.busy" while it does. */
export function requireUpdatable(stateDirectory: string): void {
  if (!isRoot())
    throw new AgentError(
      "update.service",
      "an update exchanges the service's executable: it must run as root",
      {
        hint: "sudo noderax-agent update",
        exit: exit.refused,
      },
    );
  const init = initSystem();
  if (init !== "systemd")
    throw new AgentError("update.service", "updates need systemd, which watches the new version", {
      hint: "Here, download the new executable and run it:  ./noderax-agent-VERSION-linux-… install",
      exit: exit.refused,
    });
  const owner = packageOwner();
  if (owner !== undefined)
    throw new AgentError(
      "update.service",
      `the executable belongs to a package of ${owner.manager}, which alone exchanges it`,
      {
        hint: "Update the package:  see your package manager",
        exit: exit.refused,
      },
    );
  const state = serviceState(init);
  if (state === undefined || process.execPath !== places.program)
    throw new AgentError(
      "update.service",
      `only an installed agent can be updated, and this is ${process.execPath}`,
      {
        hint: state === undefined ? "Install it:  noderax-agent install" : `Run:  ${places.program} update`,
        exit: exit.refused,
      },
    );
  reviveWatcher(stateDirectory);
  requireIdle(stateDirectory, UPDATE_PATHS);
  if (state.active !== "active")
    throw new AgentError(
      "update.service",
      `the service is ${state.active}: nothing would tell whether a new version works`,
      {
        hint: "Start it first:  noderax-agent start",
        exit: exit.refused,
      },
    );
}

/** The parts of an update on this machine. */
export function updatePorts(
  { settings, files }: Pick<Config, "settings" | "files">,
  place: Place,
  rest: Pick<UpdatePorts, "report" | "note" | "progress">,
): UpdatePorts {
  const state = stateDirectory(settings);
  return {
    place,
    roots: rootKeys,
    builds: buildName(isMusl() ? "musl" : "glibc"),
    version,
    paths: UPDATE_PATHS,
    stateDirectory: state,
    probe: (candidate, wanted) =>
      probe(
        candidate,
        wanted,
        ["--state-file", settings.state_file, ...configFlag(files.at(-1)?.path)],
        proxiesOf(process.env),
      ),
    handOver: () => startWatcher(state),
    ...rest,
  };
}

const configFlag = (path: string | undefined): string[] => (path === undefined ? [] : ["--config", path]);

/** Where the loader of musl is, its builds run. */
const isMusl = (): boolean =>
  process.arch === "arm64" ? existsSync("/lib/ld-musl-aarch64.so.1") : existsSync("/lib/ld-musl-x86_64.so.1");

/** What leads to the network, and nothing else of our environment. */
const proxiesOf = (env: Readonly<Record<string, string | undefined>>): Record<string, string> =>
  Object.fromEntries(
    Object.entries(env).filter(
      (entry): entry is [string, string] =>
        entry[1] !== undefined &&
        /^((https?|all|no)_proxy|ssl_cert_file|node_extra_ca_certs)$/i.test(entry[0]),
    ),
  );
