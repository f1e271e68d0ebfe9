// Which proxy the environment names, by the rules of Bun's fetch.
import { expect, test } from "bun:test";
import { proxyFor } from "../../../src/realtime/proxy.ts";

const ws = new URL("http://plane.example.com:3000");
const wss = new URL("https://plane.example.com");
const [a, b] = ["http://a.example:3128/", "http://b.example:3128/"];

test.each<[string, Record<string, string>, URL, string | undefined]>([
  ["nothing", {}, wss, undefined],
  ["HTTPS_PROXY", { HTTPS_PROXY: a, HTTP_PROXY: b }, wss, a],
  ["HTTP_PROXY", { HTTPS_PROXY: a, HTTP_PROXY: b }, ws, b],
  ["only the other one", { HTTPS_PROXY: a }, ws, undefined],
  ["small letters before capital ones", { https_proxy: a, HTTPS_PROXY: b }, wss, a],
  ["ALL_PROXY", { ALL_PROXY: a }, wss, a],
  ["the scheme's before ALL_PROXY", { ALL_PROXY: a, HTTP_PROXY: b }, ws, b],
  ["an empty one", { http_proxy: "", HTTP_PROXY: b }, ws, b],
  ["one without a scheme", { HTTP_PROXY: "b.example:3128" }, ws, b],
  [
    "one with a password",
    { HTTP_PROXY: "http://me:word@b.example:3128" },
    ws,
    "http://me:word@b.example:3128/",
  ],
])("%s", (_, env, url, proxy) => {
  expect(proxyFor(url, env)).toBe(proxy as string);
});

test.each(["socks5://me:word@a.example:1080", "http://", "::word"])(
  "%s is refused by the variable's name, without its value",
  (value) => {
    expect(() => proxyFor(wss, { HTTPS_PROXY: value })).toThrow(
      "HTTPS_PROXY is not the address of an HTTP proxy",
    );
    try {
      proxyFor(wss, { HTTPS_PROXY: value });
    } catch (error) {
      expect(JSON.stringify(error) + String(error)).not.toContain("word");
    }
  },
);
