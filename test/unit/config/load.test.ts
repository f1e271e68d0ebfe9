// Which source wins, and what each setting becomes.
import { expect, test } from "bun:test";
import * as fc from "fast-check";
import { type OptionKey, optionKeys, optionOf } from "../../../src/config/options.ts";
import { describeOrigin } from "../../../src/config/origin.ts";
import { hours, minutes, seconds } from "../../../src/lib/duration.ts";
import { scratch } from "./scratch.ts";

test("without any source every default of the table applies", async () => {
  using folder = scratch();
  const { settings, origins, files, warnings, planes } = await folder.load();
  expect(settings).toMatchObject({
    api_url: undefined,
    server_url: undefined,
    heartbeat_interval: seconds(30),
    metrics_interval: seconds(10),
    task_poll_interval: seconds(15),
    request_timeout: seconds(10),
    task_timeout: minutes(10),
    shutdown_timeout: seconds(4),
    realtime_enabled: true,
    realtime_ping_interval: seconds(10),
    realtime_queue_size: 1024,
    realtime_backoff_jitter: 1,
    realtime_namespace: "/agent-realtime",
    realtime_path: "/socket.io/",
    location_public_ip_enabled: false,
    state_file: folder.at("data/agent_identity.json"),
    log_level: "info",
    log_format: "auto",
    debug: false,
    docker_host: "unix:///var/run/docker.sock",
    listen_port: 9090,
    proxy_listen_addr: ":8081",
    task_user: "noderax",
    max_parallel_tasks: 8,
    task_log_max_size: 2 ** 30,
    task_output_limit: 256 * 2 ** 20,
    allow_root_tasks: true,
    allow_terminal: true,
    allow_root_terminals: true,
    max_terminals: 32,
    terminal_idle_limit: hours(8),
    terminal_max_length: hours(24),
    terminal_kill_grace: seconds(3),
  });
  expect(origins.get("task_timeout")).toEqual({ from: "default" });
  expect(origins.has("api_url")).toBe(false);
  expect({ files, warnings, planes }).toEqual({ files: [], warnings: [], planes: [] });
});

test("every default of the table is a value that its own row accepts", async () => {
  using folder = scratch();
  const { settings } = await folder.load();
  for (const key of optionKeys)
    expect([key, settings[key] === undefined]).toEqual([key, optionOf(key).default === undefined]);
});

const sources = ["yaml", "json", "dotenv", "environment", "flag"] as const;

test("for any subset of sources the last one wins and is named as the origin", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.subarray([...sources]),
      fc.constantFrom("task_timeout", "request_timeout"),
      async (used, key: OptionKey) => {
        using folder = scratch();
        const value = (source: (typeof sources)[number]): string => `${sources.indexOf(source) + 100}s`;
        const name = key.toUpperCase();
        if (used.includes("yaml")) folder.write("config.yaml", `# comment\n${key}: ${value("yaml")}\n`);
        if (used.includes("json")) folder.write("config.json", JSON.stringify({ [key]: value("json") }));
        if (used.includes("dotenv")) folder.write(".env", `${name}=${value("dotenv")}\n`);
        const { settings, origins } = await folder.load({
          env: used.includes("environment") ? { [name]: value("environment") } : {},
          flags: new Map(used.includes("flag") ? [[key, value("flag")]] : []),
        });
        const winner = used.at(-1);
        const origin = origins.get(key);
        if (winner === undefined) return expect(origin).toEqual({ from: "default" });
        expect(settings[key]).toBe(seconds(sources.indexOf(winner) + 100));
        expect(origin && describeOrigin(origin)).toBe(
          {
            yaml: `${folder.at("config.yaml")}:2`,
            json: `${folder.at("config.json")}:1`,
            dotenv: `${folder.at(".env")}:1 ${name}`,
            environment: `environment ${name}`,
            flag: `flag --${key.replaceAll("_", "-")}`,
          }[winner],
        );
      },
    ),
    { numRuns: 60 },
  );
});

test("of several variables for one key the first of the table wins", async () => {
  using folder = scratch();
  const env = { METRICS_INTERVAL: "9s", NODERAX_REALTIME_METRICS_INTERVAL: "8s" };
  expect((await folder.load({ env })).settings.metrics_interval).toBe(seconds(8));
  const first = { ...env, NODERAX_METRICS_INTERVAL: "7s" };
  expect((await folder.load({ env: first })).origins.get("metrics_interval")).toEqual({
    from: "environment",
    name: "NODERAX_METRICS_INTERVAL",
  });
});

test.each([
  ["the configuration", { "config.yaml": 'proxy_listen_addr: ""\n' }, {}],
  [".env", { "config.json": '{ "proxy_listen_addr": ":80" }', ".env": "PROXY_LISTEN_ADDR=\n" }, {}],
  ["the environment", { "config.json": '{ "proxy_listen_addr": ":80" }' }, { PROXY_LISTEN_ADDR: "" }],
])("an empty ingress address in %s is a value: it switches the ingress off", async (_, files, env) => {
  using folder = scratch(files);
  expect((await folder.load({ env })).settings.proxy_listen_addr).toBe("");
});

test("an empty value anywhere is no value: the source below applies", async () => {
  using folder = scratch({ "config.json": '{ "task_timeout": "5m", "api_url": "", "node_id": null }' });
  const { settings } = await folder.load({ env: { TASK_TIMEOUT: "", NODERAX_TASK_TIMEOUT: "  " } });
  expect(settings.task_timeout).toBe(minutes(5));
  expect(settings.api_url).toBeUndefined();
  expect(settings.node_id).toBeUndefined();
});

test.each([
  ["api.example.com", "https://api.example.com"],
  ["https://api.example.com/", "https://api.example.com"],
  ["http://API.example.com:3000/base//", "http://api.example.com:3000/base"],
  ["10.0.0.5:8443", "https://10.0.0.5:8443"],
  ["localhost:3000", "https://localhost:3000"],
])("the API address %s is used as %s", async (given, used) => {
  using folder = scratch();
  const { settings, planes } = await folder.load({ env: { API_URL: given } });
  expect(settings.api_url).toBe(used);
  expect(planes).toEqual(["noderax"]);
});

test.each(["ftp://x", "https://", "http://user:secret@x", "https://x/?a=b", "https://a b"])(
  "the API address %s is refused",
  async (given) => {
    using folder = scratch();
    expect((await folder.refuses({ env: { API_URL: given } })).exit).toBe(2);
  },
);

test("called cara-agent it runs the caravanserai plane alone and knows where its server is", async () => {
  using folder = scratch();
  const { settings, planes } = await folder.load({ invokedAs: "cara-agent", env: { API_URL: "https://x" } });
  expect(settings.server_url).toBe("http://localhost:8080");
  expect(planes).toEqual(["caravanserai"]);
});

test("a realtime path always ends with a slash", async () => {
  using folder = scratch({ "config.yaml": "realtime_path: /socket.io" });
  expect((await folder.load()).settings.realtime_path).toBe("/socket.io/");
});

test("debug means log level debug, whatever a file says about the level", async () => {
  using folder = scratch({ "config.json": '{ "log_level": "warn" }' });
  const { settings, origins } = await folder.load({ flags: new Map([["debug", "true"]]) });
  expect(settings.log_level).toBe("debug");
  expect(origins.get("log_level")).toEqual({ from: "flag", name: "debug" });
});

test.each([
  [{ LOG_LEVEL: "verbose" }, "log_level"],
  [{ DEBUG: "express:*" }, "debug"],
])("%p, which other programs understand, is a warning and no reason to stop", async (env, key) => {
  using folder = scratch();
  const { settings, warnings } = await folder.load({ env });
  expect(settings.log_level).toBe("info");
  expect(warnings.join()).toContain(key);
});

test("pinging too rarely is allowed with a warning", async () => {
  using folder = scratch({ "config.json": '{ "realtime_ping_interval": "20s" }' });
  const { warnings } = await folder.load();
  expect(warnings).toHaveLength(1);
});

test("relative paths are taken from the working directory", async () => {
  using folder = scratch({ "ca.pem": "", "config.json": '{ "api_tls_ca_file": "ca.pem" }' });
  expect((await folder.load()).settings.api_tls_ca_file).toBe(folder.at("ca.pem"));
});

test("JSON and YAML may hold numbers and booleans by their type or as text", async () => {
  using folder = scratch({
    "config.json":
      '{ "listen_port": 9191, "location_manual_latitude": "-33.5", "location_manual_longitude": 1.5e1 }',
    "config.yaml": 'debug: yes\nlisten_port: "9"\nlocation_manual_region: eu\nrealtime_queue_size: "12"\n',
  });
  expect((await folder.load()).settings).toMatchObject({
    listen_port: 9191,
    location_manual_latitude: -33.5,
    location_manual_longitude: 15,
    debug: true,
    realtime_queue_size: 12,
  });
});

test("an id made of digits keeps all of them", async () => {
  using json = scratch({ "config.json": '{ "node_id": 12345678901234567890123 }' });
  using yaml = scratch({ "config.yaml": "node_id: 00123456789012345678901" });
  expect((await json.load()).settings.node_id).toBe("12345678901234567890123");
  expect((await yaml.load()).settings.node_id).toBe("00123456789012345678901");
});
