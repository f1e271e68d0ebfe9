// THE table of settings: type, default, environment names, flag, documentation. Everything else is derived
// from it.
import { seconds } from "../lib/duration.ts";
import { leadingSlash, trailingSlash } from "./checks.ts";
import type { Option, ValueOf } from "./option.ts";
import { parseWindow } from "../lib/time-window.ts";
import { caravanseraiOptions } from "./options-caravanserai.ts";

export const options = {
  api_url: {
    type: "url",
    scheme: "https",
    env: ["API_URL"],
    planes: ["noderax"],
    doc: "Address of the Noderax control plane; without it that plane does not run.",
  },
  api_tls_ca_file: {
    type: "path",
    mustExist: true,
    env: ["API_TLS_CA_FILE"],
    planes: ["noderax", "caravanserai"],
    doc: "PEM file with certificate authorities to trust besides the system's.",
  },
  require_tls: {
    type: "boolean",
    default: false,
    planes: ["noderax"],
    doc: "The owner's veto: true gives no root over a control plane that is reached over plain HTTP.",
  },
  enrollment_token: {
    type: "string",
    secret: true,
    env: ["ENROLLMENT_TOKEN"],
    planes: ["noderax"],
    restart: false,
    doc: "Token of an enrollment that waits for approval; written and removed by `enroll`.",
  },
  node_id: {
    type: "string",
    env: ["NODE_ID"],
    planes: ["noderax"],
    doc: "The node's id, together with agent_token instead of an identity file.",
  },
  agent_token: {
    type: "string",
    secret: true,
    env: ["AGENT_TOKEN"],
    planes: ["noderax"],
    doc: "The node's secret, together with node_id instead of an identity file.",
  },
  state_file: {
    type: "path",
    default: "./data/agent_identity.json",
    env: ["STATE_FILE"],
    planes: ["noderax", "caravanserai"],
    doc: "The identity file; the agent keeps its other state in the same directory.",
  },
  heartbeat_interval: {
    type: "duration",
    default: "30s",
    env: ["HEARTBEAT_INTERVAL"],
    planes: ["noderax", "caravanserai"],
    doc: "Time between two heartbeats.",
  },
  metrics_interval: {
    type: "duration",
    default: "10s",
    env: ["NODERAX_REALTIME_METRICS_INTERVAL", "METRICS_INTERVAL"],
    planes: ["noderax"],
    doc: "How often metrics are sampled and sent.",
  },
  task_poll_interval: {
    type: "duration",
    default: "15s",
    env: ["TASK_POLL_INTERVAL"],
    planes: ["noderax"],
    doc: "How long the server may hold one request for the next task.",
  },
  request_timeout: {
    type: "duration",
    default: "10s",
    env: ["REQUEST_TIMEOUT"],
    planes: ["noderax", "caravanserai"],
    doc: "Limit of one HTTP request to a control plane.",
  },
  shutdown_timeout: {
    type: "duration",
    default: "4s",
    env: ["SHUTDOWN_TIMEOUT"],
    planes: ["noderax", "caravanserai"],
    doc: "How long a stop may take; unfinished work is on disk and continues with the next start.",
  },
  task_timeout: {
    type: "duration",
    default: "10m",
    env: ["TASK_TIMEOUT"],
    planes: ["noderax"],
    doc: "Time limit of a task without one of its own.",
  },
  allow_tasks: {
    type: "boolean",
    default: true,
    planes: ["noderax"],
    doc: "The owner's veto: false refuses every shell command of the control plane.",
  },
  allow_packages: {
    type: "boolean",
    default: true,
    planes: ["noderax"],
    doc: "The owner's veto: false refuses to list, search and change packages.",
  },
  allow_log_scan: {
    type: "boolean",
    default: true,
    planes: ["noderax"],
    doc: "The owner's veto: false refuses to show logs of this machine.",
  },
  task_user: {
    type: "string",
    default: "noderax",
    planes: ["noderax"],
    doc: "The user tasks and terminals run as when the agent is root.",
  },
  allow_root_tasks: {
    type: "boolean",
    default: true,
    planes: ["noderax"],
    doc: "The owner's veto: false refuses root tasks whatever the control plane's profile says.",
  },
  root_access_max: {
    type: "enum",
    values: [
      "off",
      "operational",
      "task",
      "terminal",
      "operational_task",
      "operational_terminal",
      "task_terminal",
      "all",
    ],
    default: "all",
    planes: ["noderax"],
    doc: "The owner's veto: the most root access that the control plane can have here.",
  },
  task_isolation: {
    type: "enum",
    values: ["auto", "all", "off"],
    default: "auto",
    planes: ["noderax"],
    doc: "Which tasks and terminals see only their own processes and terminals: auto those without root, all root's too.",
  },
  task_allow_setuid: {
    type: "boolean",
    default: false,
    planes: ["noderax"],
    doc: "Whether sudo and other set-uid programs work in tasks; in terminals they always do.",
  },
  max_parallel_tasks: {
    type: "integer",
    default: 8,
    min: 1,
    max: 1_024,
    planes: ["noderax"],
    doc: "How many tasks may run at the same time.",
  },
  task_kill_grace: {
    type: "duration",
    default: "10s",
    planes: ["noderax"],
    doc: "Time between SIGTERM and SIGKILL for a task that is cancelled or out of time.",
  },
  task_output_limit: {
    type: "size",
    default: "256MiB",
    planes: ["noderax"],
    doc: "Most output kept on the node per stream of one task.",
  },
  task_memory_max: {
    type: "size",
    planes: ["noderax"],
    defaultNote: "80 % of the machine's",
    doc: "Most memory of a task: of all its processes under systemd, of each process elsewhere.",
  },
  task_cpu_quota: {
    type: "integer",
    min: 1,
    max: 1_000_000,
    planes: ["noderax"],
    doc: "Most processor time of a task, in percent of one core; under systemd only, no limit by default.",
  },
  task_pids_max: {
    type: "integer",
    default: 2_048,
    min: 32,
    max: 1_000_000,
    planes: ["noderax"],
    doc: "Most processes and threads of a task: under systemd, or in a private view from Linux 6.14 on.",
  },
  task_nice: {
    type: "integer",
    default: 0,
    min: 0,
    max: 19,
    planes: ["noderax"],
    doc: "Niceness of tasks: 19 leaves the processor to everything else.",
  },
  task_io_weight: {
    type: "integer",
    default: 100,
    min: 1,
    max: 10_000,
    planes: ["noderax"],
    doc: "Share of the disks of a task beside others', which have 100; under systemd only.",
  },
  task_log_retention: {
    type: "duration",
    default: "168h",
    planes: ["noderax"],
    doc: "How long the full output of a finished task stays on the node.",
  },
  task_log_max_size: {
    type: "size",
    default: "1GiB",
    planes: ["noderax"],
    doc: "Bound of the output kept of all finished tasks; the oldest goes first.",
  },
  allow_terminal: {
    type: "boolean",
    default: true,
    planes: ["noderax"],
    doc: "The owner's veto: false refuses every terminal.",
  },
  allow_root_terminals: {
    type: "boolean",
    default: true,
    planes: ["noderax"],
    doc: "The owner's veto: false refuses root terminals whatever the control plane's profile says.",
  },
  max_terminals: {
    type: "integer",
    default: 32,
    min: 1,
    max: 1_024,
    planes: ["noderax"],
    doc: "How many terminals may be open at the same time.",
  },
  terminal_idle_limit: {
    type: "duration",
    default: "8h",
    planes: ["noderax"],
    doc: "A terminal without input and output for this long is ended.",
  },
  terminal_max_length: {
    type: "duration",
    default: "24h",
    planes: ["noderax"],
    doc: "A terminal is ended after this long, used or not.",
  },
  terminal_kill_grace: {
    type: "duration",
    default: "3s",
    planes: ["noderax"],
    doc: "Time between SIGHUP and SIGKILL for the processes of a terminal.",
  },
  realtime_enabled: {
    type: "boolean",
    default: true,
    env: ["REALTIME_ENABLED"],
    planes: ["noderax"],
    doc: "Whether the realtime session is opened; without it the node uses HTTP alone.",
  },
  realtime_ping_interval: {
    type: "duration",
    default: "10s",
    env: ["REALTIME_PING_INTERVAL"],
    planes: ["noderax"],
    warn: (period) =>
      period > seconds(15) ? "is above 15s: the server may drop the session between two pings" : undefined,
    doc: "Time between two pings of the realtime session.",
  },
  realtime_queue_size: {
    type: "integer",
    default: 1_024,
    min: 1,
    max: 1_048_576,
    env: ["REALTIME_QUEUE_SIZE"],
    planes: ["noderax"],
    doc: "Accepted from the configuration of a Go agent, without effect: the session has no queue.",
  },
  realtime_backoff_jitter: {
    type: "number",
    default: 1,
    min: 0,
    max: 1,
    env: ["REALTIME_BACKOFF_JITTER"],
    planes: ["noderax"],
    doc: "Random share of the pause before the session reconnects; 1 spreads a fleet best.",
  },
  realtime_namespace: {
    type: "string",
    default: "/agent-realtime",
    check: leadingSlash,
    env: ["REALTIME_NAMESPACE"],
    planes: ["noderax"],
    doc: "Socket.IO namespace of the session.",
  },
  realtime_path: {
    type: "string",
    default: "/socket.io/",
    check: leadingSlash,
    normalise: trailingSlash,
    env: ["REALTIME_PATH"],
    planes: ["noderax"],
    doc: "HTTP path of the Socket.IO endpoint.",
  },
  update_allow: {
    type: "enum",
    values: ["off", "manual", "control-plane", "auto"],
    default: "control-plane",
    planes: ["noderax", "caravanserai"],
    doc: "The owner's veto: who may update the agent: nobody, the command, roll-outs too, the agent itself too.",
  },
  update_channel_url: {
    type: "url",
    scheme: "https",
    planes: ["noderax", "caravanserai"],
    doc: "Where releases are: the directory with catalog.json. Without it there are no updates.",
  },
  update_window: {
    type: "string",
    check: (text) =>
      parseWindow(text) === undefined
        ? 'is no window (write "02:00-04:30" or "Sat,Sun 22:00-06:00")'
        : undefined,
    planes: ["noderax", "caravanserai"],
    doc: "When the agent may update itself (update_allow auto), in this machine's time zone.",
  },
  update_pin: {
    type: "string",
    planes: ["noderax", "caravanserai"],
    doc: "The only version that is installed, whatever a control plane asks for.",
  },
  location_manual_region: {
    type: "string",
    env: ["LOCATION_MANUAL_REGION"],
    planes: ["noderax"],
    doc: "Where the node stands; needs both coordinates.",
  },
  location_manual_zone: {
    type: "string",
    env: ["LOCATION_MANUAL_ZONE"],
    planes: ["noderax"],
    doc: "Zone within the region.",
  },
  location_manual_latitude: {
    type: "number",
    min: -90,
    max: 90,
    env: ["LOCATION_MANUAL_LATITUDE"],
    planes: ["noderax"],
    doc: "Latitude in degrees.",
  },
  location_manual_longitude: {
    type: "number",
    min: -180,
    max: 180,
    env: ["LOCATION_MANUAL_LONGITUDE"],
    planes: ["noderax"],
    doc: "Longitude in degrees.",
  },
  location_public_ip_enabled: {
    type: "boolean",
    default: false,
    env: ["LOCATION_PUBLIC_IP_ENABLED"],
    planes: ["noderax"],
    doc: "Ask ipinfo.io where the node's public address is.",
  },
  ipinfo_token: {
    type: "string",
    secret: true,
    env: ["IPINFO_TOKEN"],
    planes: ["noderax"],
    doc: "Access token for ipinfo.io.",
  },
  ...caravanseraiOptions,
  log_level: {
    type: "enum",
    values: ["debug", "info", "warn", "error"],
    default: "info",
    lenient: true,
    env: ["LOG_LEVEL"],
    planes: ["noderax", "caravanserai"],
    doc: "How much the agent logs.",
  },
  log_format: {
    type: "enum",
    values: ["auto", "human", "json"],
    default: "auto",
    planes: ["noderax", "caravanserai"],
    doc: "How it logs; auto is human on a terminal and JSON elsewhere.",
  },
  debug: {
    type: "boolean",
    default: false,
    lenient: true,
    env: ["DEBUG"],
    planes: ["noderax", "caravanserai"],
    doc: "Same as log_level debug.",
  },
} as const satisfies Record<string, Option>;

export type OptionKey = keyof typeof options;

/**
 * Every setting, parsed: durations in milliseconds, sizes in bytes, paths absolute; `undefined` where unset.
 */
export type Settings = {
  readonly [K in OptionKey]:
    | ValueOf<(typeof options)[K]>
    | ((typeof options)[K] extends { default: unknown } ? never : undefined);
};

export const optionKeys = Object.keys(options) as readonly OptionKey[];

/** Returns whether a setting of this name exists. */
export const isOptionKey = (key: string): key is OptionKey => Object.hasOwn(options, key);

/** Returns the row of a key as an Option, for code that works on all of them. */
export const optionOf = (key: OptionKey): Option => options[key];

/** Returns the variables that set a key; the first that is set wins: "NODERAX_API_URL", "API_URL". */
export const environmentNames = (key: OptionKey): readonly string[] => [
  `NODERAX_${key.toUpperCase()}`,
  ...(optionOf(key).env ?? []),
];

/** Returns the flags that set a key, without their dashes: "listen-port", "agent-port". */
export const flagNames = (key: OptionKey): readonly [string, ...string[]] => [
  key.replaceAll("_", "-"),
  ...(optionOf(key).flags ?? []),
];
