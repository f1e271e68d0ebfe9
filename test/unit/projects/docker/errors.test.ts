import { describe, expect, test } from "bun:test";
import { isDockerLocal } from "../../../../src/lib/address.ts";
import { certificatesAt, parseDockerHost } from "../../../../src/projects/docker/host.ts";
import { dockerFailure } from "../../../../src/projects/docker/errors.ts";
import { readEvent } from "../../../../src/projects/docker/events.ts";
import { settleVersion } from "../../../../src/projects/docker/version.ts";

describe("a failure", () => {
  const answered = (statusCode: number, message: string): Error =>
    Object.assign(new Error(`(HTTP code ${statusCode}) server error - ${message} `), {
      statusCode,
      json: { message },
    });

  test.each([
    [404, "No such container: x", "docker.gone"],
    [409, "Conflict. The container name is in use", "docker.refused"],
    [500, "write /a: no space left on device", "docker.full"],
    [400, "client version 1.99 is too new. Maximum supported API version is 1.41", "docker.version"],
    [503, "starting", "docker.away"],
  ])("with status %d and %p", (status, words, code) => {
    expect(dockerFailure(answered(status, words), "unix:///s")).toMatchObject({
      code,
      status,
      message: words,
    });
  });

  test("for want of networks tells where more are to be had", () => {
    const words =
      "could not find an available, non-overlapping IPv4 address pool among the defaults to assign to the network";
    expect(dockerFailure(answered(500, words), "unix:///s").hint.join()).toContain("default-address-pools");
  });

  test("is one line of bounded length", () => {
    const { message } = dockerFailure(answered(500, `a\nb\x1b[1m${"x".repeat(9_000)}`), "unix:///s");
    expect(message).toStartWith("a b\\x1b[1mxxx");
    expect(message.length).toBeLessThan(600);
  });

  test("without a body is in the library's words, without its prefix", () => {
    const error = Object.assign(new Error("(HTTP code 500) server error - boom "), { statusCode: 500 });
    expect(dockerFailure(error, "unix:///s").message).toBe("boom");
  });
});

test.each([
  ["unix:///var/run/docker.sock", false, { socketPath: "/var/run/docker.sock" }],
  ["tcp://10.0.0.1", false, { protocol: "http", host: "10.0.0.1", port: 2375 }],
  ["tcp://docker.example.com:80", false, { protocol: "http", host: "docker.example.com", port: 80 }],
  ["tcp://docker.example.com", true, { protocol: "https", host: "docker.example.com", port: 2376 }],
  ["https://[::1]:99/", false, { protocol: "https", host: "::1", port: 99 }],
])("%s with TLS %p is an address", (text, tls, address) => {
  expect({ ...parseDockerHost(text, tls) }).toMatchObject(address);
});

test.each([
  [{}, undefined],
  [{ DOCKER_TLS_VERIFY: "", DOCKER_CERT_PATH: "" }, undefined],
  [{ DOCKER_TLS_VERIFY: "1" }, "/home/ada/.docker"],
  [{ DOCKER_CERT_PATH: "/certs" }, "/certs"],
])("%j asks for the certificates at %p", (environment, path) => {
  expect(certificatesAt(environment, "/home/ada")).toBe(path);
});

test.each([
  ["1.41", "1.12", "1.41"],
  ["1.52", "1.44", "1.44"],
  ["1.25", "", "1.25"],
])("with a daemon of %s down to %p, %s is spoken", (max, min, settled) => {
  expect(settleVersion(max, min)).toBe(settled);
});

test.each([
  ["1.24", "1.12"],
  ["1.9", ""],
  ["1.60", "1.45"],
  ["nonsense", ""],
])("with a daemon of %s down to %p, none is", (max, min) => {
  expect(() => settleVersion(max, min)).toThrow(expect.objectContaining({ code: "docker.version" }));
});

test.each([
  [{ Type: "container", Action: "die", Actor: { Attributes: { "cara.project": "a" } } }, "a"],
  [{ Type: "container", Action: "die", Actor: { Attributes: {} } }, undefined],
  [{ Type: "network", Action: "destroy", Actor: { Attributes: { name: "cara-a-b" } } }, "a-b"],
  [{ Type: "network", Action: "destroy", Actor: { Attributes: { name: "bridge" } } }, undefined],
  [{ Type: "volume", Action: "destroy", Actor: { ID: "cara-a-b-c" } }, "a-b"],
  [{ Type: "volume", Action: "destroy", Actor: { ID: "other" } }, undefined],
  [{ Type: "image", Action: "pull" }, undefined],
])("an event %j is the project %p's", (line, project) => {
  expect(readEvent(line, (name) => (name === "cara-a-b-c" ? "a-b" : undefined))?.project).toBe(project);
});

test.each([
  ["unix:///var/run/docker.sock", true],
  ["tcp://127.0.0.1:2375", true],
  ["tcp://localhost:2376", true],
  ["tcp://[::1]:2375", true],
  ["tcp://10.0.0.7:2375", false],
  ["tcp://127.0.0.1.example.com:2375", false],
  ["https://docker.example.com", false],
])("the containers of %s are on this machine: %p", (host, own) => {
  expect(isDockerLocal(host)).toBe(own);
});
