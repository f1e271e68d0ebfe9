// Renders the systemd unit and the OpenRC script from the settings and the version of systemd. Pure.
import { quote } from "../lib/text.ts";
import { type Duration, seconds } from "../lib/duration.ts";
import { CONFIG_DIRECTORY, PROGRAM_DIRECTORY, STATE_DIRECTORY, places } from "./places.ts";

export interface UnitOptions {
  readonly program: string;
  readonly config: string;
  readonly stateDirectory: string;
  /** Version of systemd; 0 when unknown: then only directives that every version knows are written. */
  readonly systemd: number;
  /** The setting shutdown_timeout. */
  readonly shutdownTimeout: Duration;
}

/** Added to shutdown_timeout: a stop that takes longer than both has failed. */
const STOP_MARGIN = seconds(15);
const STOP_LEAST = seconds(30);

/** Returns the seconds that systemd waits for a stop. */
const stopSeconds = (shutdownTimeout: Duration): number =>
  Math.ceil(Math.max(STOP_LEAST, shutdownTimeout + STOP_MARGIN) / 1_000);

/**
 * What the unit in a package is rendered for. It is one for all machines: older versions of systemd ignore what they do not
 * know, with a warning. The version is that of Debian 12 and RHEL 9.
 */
export const PACKAGED: Omit<UnitOptions, "program"> = {
  config: places.config,
  stateDirectory: STATE_DIRECTORY,
  systemd: 252,
  shutdownTimeout: seconds(20),
};

/** Returns the text of a drop-in for settings that the unit of a package does not fit; undefined when it fits. */
export function renderDropIn({
  config,
  stateDirectory,
  shutdownTimeout,
}: Pick<UnitOptions, "config" | "stateDirectory" | "shutdownTimeout">): string | undefined {
  const lines = [
    ...(config === PACKAGED.config ? [] : [configVariable(config)]),
    ...(shutdownTimeout <= PACKAGED.shutdownTimeout
      ? []
      : [`TimeoutStopSec=${stopSeconds(shutdownTimeout)}`]),
    ...(stateDirectory === PACKAGED.stateDirectory
      ? []
      : [
          `ReadWritePaths=${quotedWord(`-${stateDirectory}`)}`,
          ...(isShared(stateDirectory) ? ["PrivateTmp=no"] : []),
        ]),
  ];
  return lines.length === 0 ? undefined : `${DROP_IN}${lines.join("\n")}\n`;
}

/** A drop-in that changes nothing. */
export const DROP_IN = `# Written by \`noderax-agent install\`, and overwritten by it: settings of this machine that the unit of the package
# does not fit. Changes of yours go into ${places.dropIns}/*.conf.
[Service]
`;

const configVariable = (path: string): string => `Environment=${quotedWord(`NODERAX_CONFIG_FILE=${path}`)}`;

/** Tasks, which have the machine's /tmp, must find their run directories in it. */
const isShared = (stateDirectory: string): boolean => /^\/(var\/)?tmp\//.test(`${stateDirectory}/`);

/** Variables that make a JavaScript runtime load or run foreign code. */
const SCRUBBED = "BUN_OPTIONS BUN_BE_BUN BUN_INSPECT BUN_CONFIG_PRELOAD NODE_OPTIONS NODE_PATH";

/** Returns the text of the unit file. */
export function renderUnit(options: UnitOptions): string {
  const { program, config, stateDirectory, systemd, shutdownTimeout } = options;
  const since: Since = (version, ...lines) => (systemd >= version ? lines : []);
  const lines = [
    "# Written by `noderax-agent install`, and overwritten by it.",
    "# Changes of yours go into /etc/systemd/system/noderax-agent.service.d/*.conf (systemctl edit noderax-agent):",
    "# neither install nor uninstall touches that directory; only uninstall --purge removes it.",
    "[Unit]",
    "Description=Noderax agent",
    "Wants=network-online.target",
    "After=network-online.target docker.service",
    "# It never gives up, however often it has to be started again.",
    "StartLimitIntervalSec=0",
    "",
    "[Service]",
    "# Ready when its loops run. It says so every few seconds as long as they make progress; a server that cannot be",
    "# reached is no reason to restart it.",
    "Type=notify",
    "NotifyAccess=main",
    `ExecStart=${quotedWord(program)} run`,
    configVariable(config),
    `EnvironmentFile=-${places.proxy}`,
    `UnsetEnvironment=${SCRUBBED}`,
    "TimeoutStartSec=120",
    "WatchdogSec=60",
    "Restart=always",
    "RestartSec=2",
    ...since(254, "RestartSteps=6", "RestartMaxDelaySec=60"),
    "# Exit codes of a wrong configuration and of a machine that is connected to nothing: a restart mends neither.",
    "RestartPreventExitStatus=2 3",
    "# Tasks, terminals and containers are in units of their own and go on over a restart.",
    `TimeoutStopSec=${stopSeconds(shutdownTimeout)}`,
    "# After a crash the clients of open terminals are killed at once: they ignore SIGTERM, as the agent ends them itself.",
    "KillMode=mixed",
    "",
    "# The agent takes 50 MB. Beyond these something has gone wrong, and a restart costs no task.",
    "MemoryHigh=384M",
    "MemoryMax=768M",
    "TasksMax=1024",
    "LimitNOFILE=65536",
    "LimitCORE=0",
    "OOMScoreAdjust=-500",
    "",
    ...(systemd >= ATTACHED_UNITS ? strictSandbox(stateDirectory, since) : wideSandbox(since)),
    "",
    "[Install]",
    "WantedBy=multi-user.target",
    "",
  ];
  return lines.join("\n");
}

/** Returns the lines for a systemd of at least that version. */
type Since = (version: number, ...lines: string[]) => string[];

/** From this version on, terminals have services of their own (platform/attached-unit.ts). */
const ATTACHED_UNITS = 240;

/** For an agent that only supervises: nothing that tasks or terminals do happens inside of this unit. */
function strictSandbox(stateDirectory: string, since: Since): string[] {
  return [
    "# Sandboxing. Tasks and terminals run in transient units of their own and inherit nothing of this, so it does not",
    "# limit what they may do. What stays open, and why:",
    "#   User=root                    the agent starts units, and ends processes of other users",
    "#   CAP_KILL, CAP_SYS_PTRACE     processes of a cancelled task are found and ended",
    "#   CAP_DAC_*, CAP_FOWNER        it reads /proc of other users, and files of an owner it takes over from",
    "#   CAP_CHOWN, @chown            a terminal's pty is given to its user; state of a Go agent to root",
    "#   AF_UNIX                      systemd and Docker",
    "#   AF_INET, AF_INET6, no PrivateNetwork, no IPAddressDeny   its work is on the network",
    "#   no ProcSubset                it measures the machine",
    "#   no PrivateUsers              it has to know the owners of processes and files",
    "#   no MemoryDenyWriteExecute    the runtime compiles its code as it runs",
    "#   ProtectHome=read-only        the registry credentials of root (/root/.docker)",
    "#   ProtectClock allows reading the real-time clock device; nothing uses it",
    "# A credential helper of Docker that writes to root's home needs ReadWritePaths= in a drop-in.",
    "# When systemd starts no units any more, a root terminal runs in here, with these limits; others are refused.",
    "NoNewPrivileges=yes",
    "ProtectSystem=strict",
    `ReadWritePaths=${[PROGRAM_DIRECTORY, CONFIG_DIRECTORY, stateDirectory].map((path) => quotedWord(`-${path}`)).join(" ")}`,
    "# Where it is announced to the commands of root; other processes of root are, too.",
    "RuntimeDirectory=noderax-0",
    "RuntimeDirectoryMode=0700",
    "RuntimeDirectoryPreserve=yes",
    "ProtectHome=read-only",
    ...(isShared(stateDirectory) ? [] : ["PrivateTmp=yes"]),
    "PrivateMounts=yes",
    ...since(248, "PrivateIPC=yes"),
    "RestrictNamespaces=yes",
    ...since(242, "RestrictSUIDSGID=yes"),
    ...sandboxOfBoth(since),
    "SystemCallFilter=@system-service",
    "SystemCallFilter=~@resources @privileged",
    "SystemCallFilter=@chown",
    "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6",
    "CapabilityBoundingSet=CAP_KILL CAP_SYS_PTRACE CAP_DAC_OVERRIDE CAP_DAC_READ_SEARCH CAP_FOWNER CAP_CHOWN",
  ];
}

/** For a systemd that cannot start a service on a terminal of ours: terminals are scopes, and inherit all of this. */
function wideSandbox(since: Since): string[] {
  return [
    "# Sandboxing. Tasks run in transient units and inherit nothing of this. Terminals inherit all of it, root terminals",
    "# too, since this systemd is too old for services on a terminal (before 240): so nothing is forbidden here that an",
    "# administrator does in one. What stays open, and why:",
    "#   User=root, CAP_SETUID CAP_SETGID CAP_CHOWN  tasks and terminals are started as their users",
    "#   CAP_SYS_ADMIN, @mount, namespaces            a private view of processes for terminals; mount in a root terminal",
    "#   CAP_SYS_PTRACE, @debug                       processes of a cancelled task are found; strace in a root terminal",
    "#   CAP_DAC_*, CAP_FOWNER, CAP_FSETID, CAP_SETFCAP, CAP_NET_*   packages and networks in a root terminal",
    "#   no ProtectSystem, ProtectHome, PrivateTmp    a terminal sees the machine's files as they are",
    "#   no NoNewPrivileges, RestrictSUIDSGID         sudo in a terminal; packages with set-uid programs",
    "#   no MemoryDenyWriteExecute                    the runtime compiles its code as it runs",
    "#   no PrivateNetwork, IPAddressDeny             its work is on the network",
    "# What a root terminal mounts, the agent and its terminals see alone; for the whole machine, mount there with",
    "# nsenter --target 1 --mount mount ….",
    "# A root terminal sees no block devices: DevicePolicy=auto and PrivateDevices=no in a drop-in show them.",
    ...sandboxOfBoth(since),
    "SystemCallFilter=@system-service @mount @debug",
    "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK",
    `CapabilityBoundingSet=${WIDE_CAPABILITIES.join(" ")}`,
  ];
}

const sandboxOfBoth = (since: Since): string[] => [
  "ProtectKernelModules=yes",
  "ProtectKernelTunables=yes",
  "ProtectControlGroups=yes",
  ...since(244, "ProtectKernelLogs=yes"),
  ...since(245, "ProtectClock=yes"),
  ...since(242, "ProtectHostname=yes"),
  ...since(247, "ProtectProc=invisible"),
  "RestrictRealtime=yes",
  "LockPersonality=yes",
  "PrivateDevices=yes",
  "DevicePolicy=closed",
  "KeyringMode=private",
  "UMask=0077",
  "SystemCallArchitectures=native",
  "SystemCallErrorNumber=EPERM",
];

const WIDE_CAPABILITIES = [
  "SETUID",
  "SETGID",
  "KILL",
  "CHOWN",
  "FOWNER",
  "FSETID",
  "DAC_OVERRIDE",
  "DAC_READ_SEARCH",
  "SYS_PTRACE",
  "NET_BIND_SERVICE",
  "SYS_ADMIN",
  "SYS_CHROOT",
  "SETFCAP",
  "AUDIT_WRITE",
  "SYS_RESOURCE",
  "SYS_NICE",
  "NET_ADMIN",
  "NET_RAW",
  "IPC_OWNER",
].map((name) => `CAP_${name}`);

/** Quotes one word of a unit file, so that systemd expands no specifier and no variable in it. */
export const quotedWord = (word: string): string =>
  /^[\w@+=:,./-]+$/.test(word)
    ? word
    : `"${word
        .replace(/[\\"]/g, "\\$&")
        .replaceAll("%", "%%")
        .replaceAll("$", () => "$$")}"`;

/** Returns the OpenRC script. The agent exits when it hangs, so its supervisor needs no watchdog. */
export function renderInitScript({ program, config }: Pick<UnitOptions, "program" | "config">): string {
  return [
    "#!/sbin/openrc-run",
    "# Written by `noderax-agent install`, and overwritten by it. Changes of yours go into /etc/conf.d/noderax-agent.",
    'name="Noderax agent"',
    'description="Runs tasks, terminals and containers of its control planes on this machine"',
    "supervisor=supervise-daemon",
    `command=${quote(program)}`,
    'command_args="run"',
    `export NODERAX_CONFIG_FILE=${quote(config)}`,
    `if [ -r ${places.proxy} ]; then set -a; . ${places.proxy}; set +a; fi`,
    `unset ${SCRUBBED}`,
    `output_log=${places.log}`,
    `error_log=${places.log}`,
    "# It never gives up.",
    "respawn_delay=2",
    "respawn_max=0",
    'retry="TERM/30/KILL/5"',
    "",
    "depend() {",
    "  # Not `need net`: containers have no such service, and restarting the network would restart the agent.",
    "  use net dns logger docker",
    "  after firewall",
    "}",
    "",
  ].join("\n");
}
