// What a person is told about a wrong value, and where to find it.
import { expect, test } from "bun:test";
import { parseDockerHost } from "../../../src/projects/docker/host.ts";
import { scratch, textOf } from "./scratch.ts";

test("a duration without a unit is refused with what to write instead", async () => {
  using folder = scratch();
  const error = await folder.refuses({ env: { HEARTBEAT_INTERVAL: "30" } });
  expect(error.message).toBe(
    'heartbeat_interval: "30" is not a duration (give a unit: 30s, 1m, 2m30s), from environment HEARTBEAT_INTERVAL',
  );
  expect(error.exit).toBe(2);
});

test("a wrong value in JSON is named with file and line", async () => {
  using folder = scratch({ "config.json": '{\n  "log_level": "info",\n\n  "listen_port": 70000\n}' });
  expect((await folder.refuses()).message).toBe(
    `listen_port: "70000" must be a whole number from 0 to 65535, from ${folder.at("config.json")}:4`,
  );
});

test("a wrong value in YAML is named with file and line", async () => {
  using folder = scratch({ "config.yaml": "# a\n\nheartbeat_interval: 30\n" });
  expect((await folder.refuses()).message).toEndWith(`from ${folder.at("config.yaml")}:3`);
});

test("a wrong flag and a wrong line of .env are named", async () => {
  using folder = scratch({ ".env": "A=1\nTASK_TIMEOUT=never\n" });
  const error = await folder.refuses({
    flags: new Map([
      ["debug", "maybe"],
      ["listen_port", "x"],
    ]),
  });
  expect(textOf(error)).toContain("flag --listen-port");
  expect(textOf(error)).toContain(`${folder.at(".env")}:2 TASK_TIMEOUT`);
});

test("all that is wrong is reported together", async () => {
  using folder = scratch({ "config.json": '{ "listen_port": -1, "no_such": 1, "task_timeout": "0" }' });
  const error = await folder.refuses({ env: { ADVERTISE_IP: "x", AGENT_ADVERTISE_IP: "300.1.1.1" } });
  expect(error.message).toBe("4 settings are wrong");
  expect(error.hint).toHaveLength(4);
});

test.each([
  ["listen_allow", "10.0.0.0/8,10.0.0.0/33", "10.0.0.0/33"],
  ["listen_allow", "fd00::/129", "fd00::/129"],
  ["listen_allow", "office", "office"],
  ["listen_address", "localhost", "is not an IP address"],
  ["proxy_listen_addr", "8081", "is not a listen address"],
  ["proxy_listen_addr", "a b:80", "is not a listen address"],
  ["proxy_listen_addr", "[::g]:80", "is not a listen address"],
  ["proxy_listen_addr", "300.0.0.1:80", "is not a listen address"],
  ["listen_allow", "::ffff:10.0.0.0/8", "write 10.0.0.0/8"],
  ["listen_allow", "::ffff:10.0.0.1/64", "write 10.0.0.1/32"],
] as const)("%s=%s is refused", async (key, value, told) => {
  using folder = scratch();
  expect((await folder.refuses({ flags: new Map([[key, value]]) })).message).toContain(told);
});

test.each([
  "ssh://core@docker.example.com",
  "npipe:////./pipe/docker_engine",
  "unix://relative.sock",
  "/var/run/docker.sock",
  "tcp://",
  "tcp://host:99999",
  "tcp://user:secret@host:2375",
  "https://host/path",
  "tcp://host:2375?x=1",
  "unix:///",
])("docker_host=%s is refused with the forms that are allowed", async (value) => {
  using folder = scratch();
  const error = await folder.refuses({ env: { DOCKER_HOST: value } });
  expect(error.message).toContain("unix:///var/run/docker.sock, tcp://host:2375");
  expect(error.exit).toBe(2);
});

test.each([
  "unix:///run/user/1000/docker.sock",
  "tcp://10.0.0.5:2375",
  "tcp://docker.example.com",
  "tcp://[::1]:2376/",
  "http://localhost:2375",
  "https://docker.example.com:2376",
])("docker_host=%s is accepted, and understood by those who connect", async (value) => {
  using folder = scratch();
  const { settings } = await folder.load({ env: { DOCKER_HOST: value } });
  expect(() => parseDockerHost(settings.docker_host, false)).not.toThrow();
});

test.each(["10.0.0.0/8, fd00::/8", "192.168.1.7", "::ffff:10.0.0.0/104"])(
  "the networks %s are accepted, silently",
  async (value) => {
    using folder = scratch();
    const { warnings } = await folder.load({ flags: new Map([["listen_allow", value]]) });
    expect(warnings).toEqual([]);
  },
);

test("a token that can be guessed is refused, and not shown", async () => {
  using folder = scratch({ "config.json": '{ "listen_token": "sesame-open" }' });
  const { message } = await folder.refuses();
  expect(message).toContain("too short for a token");
  expect(message).not.toContain("sesame-open");
});

test("a certificate without its key is refused", async () => {
  using folder = scratch({ "cert.pem": "x" });
  const error = await folder.refuses({ flags: new Map([["listen_tls_cert", folder.at("cert.pem")]]) });
  expect(error.message).toBe("listen_tls_cert and listen_tls_key need each other");
});

test("a secret is masked in the message about it", async () => {
  using folder = scratch({ "config.json": '{ "agent_token": "abcdefghijklmnopqrst\\nuvwxyz" }' });
  const { message } = await folder.refuses();
  expect(message).toContain("agent_token");
  expect(message).not.toContain("abcdefgh");
});

test("an unknown key is refused with the nearest known one and its line", async () => {
  using folder = scratch({ "config.json": '{\n "api_ulr": "x"\n}', "config.yaml": "\nserver_ur: y" });
  const error = await folder.refuses();
  expect(textOf(error)).toContain(
    `${folder.at("config.json")}:2: unknown key api_ulr (did you mean api_url?)`,
  );
  expect(textOf(error)).toContain(
    `${folder.at("config.yaml")}:2: unknown key server_ur (did you mean server_url?)`,
  );
});

test("a wrong value that a later source replaces does not matter", async () => {
  using folder = scratch({ "config.json": '{ "task_timeout": 30 }' });
  expect((await folder.load({ env: { TASK_TIMEOUT: "30s" } })).settings.task_timeout).toBe(30_000);
});

test.each([
  ['{ "a": 1,\n}', "2:1"],
  ['{\n  "api_url" "x"\n}', "2:13"],
  ["[]", "1:1"],
  ['{"api_url": "x"} tail', "1:18"],
  ['{"api_url": "x', "1:13"],
  ["{'api_url': 1}", "1:2"],
  ['{"api_url": 01}', "1:14"],
])("malformed JSON %p is refused at %s", async (text, place) => {
  using folder = scratch({ "config.json": text });
  const error = await folder.refuses({ configFile: "config.json" });
  expect(error.message).toStartWith(`${folder.at("config.json")}:${place}: `);
  expect(error.exit).toBe(2);
});

test("malformed YAML is refused with line and column", async () => {
  using folder = scratch({ "config.yaml": 'api_url: "x\nlog_level: info\n' });
  expect((await folder.refuses()).message).toMatch(/config\.yaml:\d+:\d+: /);
});

test.each([
  ["config.json", '{\n "task_user": "a",\n "task_user": "b"\n}', "config.json:3:2"],
  ["config.yaml", "task_user: a\ntask_user: b\n", "config.yaml:2:1"],
])("a key that stands twice in %s is refused", async (name, text, place) => {
  using folder = scratch({ [name]: text });
  expect((await folder.refuses()).message).toContain(place);
});

test("a location by hand needs a region and both coordinates", async () => {
  using folder = scratch({ "config.json": '{ "location_manual_zone": "a", "location_manual_latitude": 1 }' });
  expect((await folder.refuses()).message).toBe(
    "a location by hand needs location_manual_region and location_manual_longitude too",
  );
});

test("a certificate file that is not there is refused", async () => {
  using folder = scratch();
  expect((await folder.refuses({ env: { API_TLS_CA_FILE: "ca.pem" } })).message).toContain("does not exist");
});

test("an object or a list where one value belongs is refused, not turned into text", async () => {
  using folder = scratch({ "config.json": '{ "node_id": {"a": 1}, "task_user": ["x"] }' });
  expect(textOf(await folder.refuses())).not.toContain("object Object");
});
