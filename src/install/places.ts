// The paths of an installed agent, as the documentation promises them.
import { SERVICE_LOG } from "../platform/log-file.ts";

export const PROGRAM_DIRECTORY = "/opt/noderax-agent";
export const CONFIG_DIRECTORY = "/etc/noderax-agent";
export const STATE_DIRECTORY = "/var/lib/noderax-agent";
/** Completions and the manual page go below it. */
export const SHARED = "/usr/local/share";
export const UNIT = "noderax-agent.service";
export const WATCH_UNIT = "noderax-agent-update-watch.service";

export const places = {
  program: `${PROGRAM_DIRECTORY}/noderax-agent`,
  /** The previous executable: of an installation until the new one is healthy, of an update until the next one. */
  previous: `${PROGRAM_DIRECTORY}/noderax-agent.previous`,
  /** What an update has downloaded. */
  downloads: `${PROGRAM_DIRECTORY}/update`,
  manifest: `${STATE_DIRECTORY}/install.json`,
  link: "/usr/local/bin/noderax-agent",
  config: `${CONFIG_DIRECTORY}/config.json`,
  yaml: `${CONFIG_DIRECTORY}/config.yaml`,
  /** The proxy of the installer's environment, for the service; may contain a password. */
  proxy: `${CONFIG_DIRECTORY}/proxy.env`,
  /** A copy of the certificate authorities whose original other users could change. */
  authorities: `${CONFIG_DIRECTORY}/ca.pem`,
  identity: `${STATE_DIRECTORY}/agent_identity.json`,
  unit: `/etc/systemd/system/${UNIT}`,
  /** Watches a new version, from the switch until it is confirmed or rolled back. */
  watchUnit: `/etc/systemd/system/${WATCH_UNIT}`,
  /** The owner's drop-ins: systemd reads them, we never write them, only `uninstall --purge` removes them. */
  dropIns: `/etc/systemd/system/${UNIT}.d`,
  /** Settings that the unit of a package does not fit. Not among the owner's drop-ins, which are promised to stay alone. */
  packageDropIn: `/usr/local/lib/systemd/system/${UNIT}.d/settings.conf`,
  initScript: "/etc/init.d/noderax-agent",
  /** The owner's variables for the init script, as the drop-ins are for the unit. */
  initSettings: "/etc/conf.d/noderax-agent",
  /** Under OpenRC, which has no journal; with its predecessor removed by `uninstall --purge` alone. */
  log: SERVICE_LOG,
} as const;

export const TASK_USER = "noderax";
/** Outside the state directory: files that tasks write must not lie beside the node's identity. */
export const TASK_HOME = "/var/lib/noderax";
