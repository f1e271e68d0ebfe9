// Which URLs lead over a network in clear text.
import { expect, test } from "bun:test";
import { crossesInClear } from "../../../src/lib/address.ts";

test.each([
  "http://10.0.0.5:3001",
  "http://api.example.com",
  "HTTP://API.example.com/base",
  "http://[fd00::1]:8080",
  "http://localhost.example.com",
  "http://127.example.com",
  "http://127.0.0.1.example.com",
  "http://0.0.0.0:8080",
  "http://[::ffff:10.0.0.5]",
])("%s does", (url) => expect(crossesInClear(url)).toBe(true));

test.each([
  "https://api.example.com",
  "http://localhost:3001",
  "HTTP://LOCALHOST",
  "http://localhost.:80",
  "http://api.localhost",
  "http://127.0.0.1",
  "http://127.8.9.1:1",
  "http://127.1",
  "http://[::1]:8080",
  "http://[::ffff:127.0.0.1]",
  "not a url",
])("%s does not", (url) => expect(crossesInClear(url)).toBe(false));
