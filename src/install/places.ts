// Where an installed agent lies: the paths that the documentation promises.

export const PROGRAM_DIRECTORY = "/opt/noderax-agent";
export const CONFIG_DIRECTORY = "/etc/noderax-agent";
export const STATE_DIRECTORY = "/var/lib/noderax-agent";
export const UNIT = "noderax-agent.service";

export const places = {
  program: `${PROGRAM_DIRECTORY}/noderax-agent`,
  /** The executable before, until the new one has started well. */
  previous: `${PROGRAM_DIRECTORY}/noderax-agent.previous`,
  manifest: `${STATE_DIRECTORY}/install.json`,
  link: "/usr/local/bin/noderax-agent",
  config: `${CONFIG_DIRECTORY}/config.json`,
  yaml: `${CONFIG_DIRECTORY}/config.yaml`,
  /** Of the installer's environment, for the service; may hold a password. */
  proxy: `${CONFIG_DIRECTORY}/proxy.env`,
  /** A copy of the certificate authorities that were named where others could change them. */
  authorities: `${CONFIG_DIRECTORY}/ca.pem`,
  identity: `${STATE_DIRECTORY}/agent_identity.json`,
  unit: `/etc/systemd/system/${UNIT}`,
  /** The owner's: read by systemd, never written by us, removed by `uninstall --purge` alone. */
  dropIns: `/etc/systemd/system/${UNIT}.d`,
  initScript: "/etc/init.d/noderax-agent",
} as const;

export const TASK_USER = "noderax";
/** Not inside the state directory: what tasks write there must not lie beside the node's identity. */
export const TASK_HOME = "/var/lib/noderax";
