// Where a node stands: by configuration, by the metadata service of its cloud, by its public address.
import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import {
  type LocationPorts,
  type LocationSettings,
  enrollmentLocation,
  findLocation,
} from "../../../src/identity/location/location.ts";
import { cloudLocation } from "../../../src/identity/location/cloud.ts";
import { locationFromIpinfo } from "../../../src/identity/location/ipinfo.ts";
import { KIB } from "../../../src/lib/size.ts";

const never = new AbortController().signal;
const UNSET: LocationSettings = {
  location_manual_region: undefined,
  location_manual_zone: undefined,
  location_manual_latitude: undefined,
  location_manual_longitude: undefined,
  location_public_ip_enabled: false,
  ipinfo_token: undefined,
};
const MANUAL: LocationSettings = {
  ...UNSET,
  location_manual_region: "Basement",
  location_manual_latitude: 52.5,
  location_manual_longitude: 13.4,
};

const AWS = {
  "/latest/api/token": "AQAEAJx-_token==",
  "/latest/dynamic/instance-identity/document": '{"region":"EU-West-1","availabilityZone":"eu-west-1a"}',
};
const GCP = { "/computeMetadata/v1/instance/zone": "projects/123456/zones/europe-west1-b\n" };
const AZURE = {
  "/metadata/instance/compute?api-version=2021-02-01&format=json": '{"location":"westeurope","zone":""}',
};

/** A machine whose metadata service gives these answers; it keeps what it was asked. */
function machine(answers: Readonly<Record<string, string>>, ipinfo?: unknown) {
  const asked: string[] = [];
  const ports: LocationPorts = {
    metadata:
      () =>
      ({ method, path, headers }) => {
        asked.push(`${method} ${path} ${Object.values(headers).join()}`);
        return Promise.resolve(answers[path]);
      },
    ipinfo(token) {
      asked.push(`ipinfo ${token}`);
      return ipinfo === undefined ? Promise.reject(new Error("away")) : Promise.resolve(ipinfo);
    },
  };
  return { asked, ports, find: (settings: LocationSettings) => findLocation(settings, ports, never) };
}

describe("a location", () => {
  test("that is configured wins, and nothing is asked", async () => {
    const { asked, find } = machine(AWS, { city: "Paris" });
    expect(
      await find({ ...MANUAL, location_manual_zone: "rack 2", location_public_ip_enabled: true }),
    ).toEqual({
      provider: "manual",
      source: "manual",
      region: "Basement",
      zone: "rack 2",
      latitude: 52.5,
      longitude: 13.4,
    });
    expect(asked).toEqual([]);
  });

  test("is cut to 80 characters without half of a surrogate pair, which the control plane cannot store", async () => {
    const region = `${"a".repeat(79)}😀`;
    const { find } = machine({});
    expect(await find({ ...MANUAL, location_manual_region: region })).toMatchObject({
      region: "a".repeat(79),
    });
    expect(locationFromIpinfo({ city: region })).toMatchObject({ region: "a".repeat(79) });
    const zone = "rack\u0000 2";
    expect(await find({ ...MANUAL, location_manual_zone: zone })).toMatchObject({ zone: "rack\\x00 2" });
  });

  test.each([
    ["aws", AWS, "eu-west-1", "eu-west-1a"],
    ["gcp", GCP, "europe-west1", "europe-west1-b"],
    ["azure", AZURE, "westeurope", undefined],
  ] as const)("comes from the metadata of %s, in lower case", async (provider, answers, region, zone) => {
    const { find } = machine(answers, { city: "Paris" });
    const expected = { provider, source: "cloud_metadata", region, ...(zone === undefined ? {} : { zone }) };
    expect(await find({ ...UNSET, location_public_ip_enabled: true })).toEqual(expected as never);
  });

  test("of AWS is asked for with the session token, and without one where none is given", async () => {
    const withToken = machine(AWS);
    await withToken.find(UNSET);
    expect(withToken.asked).toContain("GET /latest/dynamic/instance-identity/document AQAEAJx-_token==");
    const { "/latest/api/token": _, ...old } = AWS;
    const withoutToken = machine(old);
    expect(await withoutToken.find(UNSET)).toMatchObject({ provider: "aws", region: "eu-west-1" });
    expect(withoutToken.asked).toContain("GET /latest/dynamic/instance-identity/document ");
  });

  test("by the public address is asked for only where the owner allows it, with the token", async () => {
    const body = { city: "Amsterdam", region: "Amsterdam", country: "NL", loc: "52.3740,4.8897" };
    const { asked, find } = machine({}, body);
    expect(await find(UNSET)).toBeUndefined();
    expect(asked.join()).not.toContain("ipinfo");
    expect(await find({ ...UNSET, location_public_ip_enabled: true, ipinfo_token: "abc" })).toEqual({
      provider: "public_ip",
      source: "ipinfo",
      region: "Amsterdam, NL",
      latitude: 52.374,
      longitude: 4.8897,
    });
    expect(asked).toContain("ipinfo abc");
    expect(await machine({}).find({ ...UNSET, location_public_ip_enabled: true })).toBeUndefined();
  });

  test.each([
    ["a page", "<html>captive portal</html>"],
    ["another document", '{"region":7}'],
    ["text of a shell in the region", '{"region":"$(reboot)"}'],
    ["nothing", ""],
    ["a region without end", JSON.stringify({ region: "a".repeat(500) })],
    ["deep nesting", "[".repeat(100_000)],
  ])("is not taken from an answer that is %s", async (_, text) => {
    const everywhere = Object.fromEntries(
      [AWS, GCP, AZURE].flatMap((answers) => Object.keys(answers).map((path) => [path, text])),
    );
    expect(await machine(everywhere).find(UNSET)).toBeUndefined();
  });

  test.each([
    ["only an address", { ip: "192.0.2.7" }, "192.0.2.7"],
    ["a long name", { city: "x".repeat(200) }, "x".repeat(80)],
    ["control characters", { city: "A\u001b[2Jb" }, expect.not.stringContaining("\u001b")],
  ])("from ipinfo.io with %s has a printable name of 80 characters at most", (_, body, region) => {
    expect(locationFromIpinfo(body)?.region).toEqual(region as string);
  });

  test.each(["null", "[]", "{}", '{"city":5}', '{"city":""}', '"text"'])(
    "is not taken from ipinfo.io's %s",
    (text) => {
      expect(locationFromIpinfo(JSON.parse(text))).toBeUndefined();
    },
  );

  test.each(["91,0", "0,181", "north", "1", ""])("has no coordinates that are not on Earth: %p", (loc) => {
    expect(locationFromIpinfo({ city: "X", loc })).toEqual({
      provider: "public_ip",
      source: "ipinfo",
      region: "X",
    });
  });
});

test("an enrollment asks the metadata service only on what looks like a machine of a cloud", async () => {
  const elsewhere = machine(AWS);
  expect(await enrollmentLocation(UNSET, elsewhere.ports, never, () => "QEMU")).toBeUndefined();
  expect(elsewhere.asked).toEqual([]);
  const { ports } = machine(AWS);
  expect(await enrollmentLocation(UNSET, ports, never, () => "Amazon EC2\n")).toMatchObject({
    provider: "aws",
  });
  expect(await enrollmentLocation(MANUAL, ports, never, () => "Amazon EC2\n")).toMatchObject({
    provider: "manual",
  });
});

test("a metadata service that never answers gives no location", async () => {
  expect(await cloudLocation(() => Promise.resolve(undefined))).toBeUndefined();
});

const missing =
  process.getuid?.() !== 0 || Bun.which("ip") === null || Bun.which("unshare") === null
    ? "root, ip and unshare"
    : undefined;

describe.skipIf(missing !== undefined)("a real metadata service (needs root, ip and unshare)", () => {
  /** Runs the agent's side in a network namespace that has 169.254.169.254, and a proxy in its environment. */
  async function found(service: string): Promise<unknown> {
    const script = join(import.meta.dir, "metadata-service.mjs");
    const enter = 'ip link set lo up && ip addr add 169.254.169.254/32 dev lo && exec "$@"';
    const child = Bun.spawn(
      ["unshare", "--net", "sh", "-c", enter, "sh", process.execPath, script, service],
      {
        env: { ...process.env, HTTP_PROXY: "http://127.0.0.1:9", http_proxy: "http://127.0.0.1:9" },
        stderr: "pipe",
      },
    );
    const [text, problem] = await Promise.all([child.stdout.text(), child.stderr.text()]);
    if (text === "") throw new Error(problem);
    return JSON.parse(text);
  }

  test("is asked directly, past a proxy, and answers with the place of the machine", async () => {
    expect(await found("aws")).toMatchObject({ location: { provider: "aws", region: "eu-west-1" } });
  });

  test("that sends without an end, redirects or stays silent gives no location, soon", async () => {
    expect(await found("endless")).toEqual({ received: expect.any(Number) as number });
    const { received } = (await found("endless")) as { received: number };
    // What lies in the buffers of the sockets is sent, but not kept.
    expect(received).toBeLessThan(64 * 1_024 * KIB);
    expect(await found("redirect")).toEqual({ received: 0 });
    expect(await found("silent")).toEqual({ received: 0 });
  });
});
