// The file by which commands find a sandbox: private, believed only when it is ours, gone afterwards.
import { afterEach, beforeEach, expect, test } from "bun:test";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { announceSandbox, findSandbox } from "../../../src/sandbox/announce.ts";

let temporary: string;
let directory: string;
beforeEach(() => {
  temporary = mkdtempSync(join(tmpdir(), "announce-test-"));
  directory = join(temporary, `noderax-sandbox-${process.getuid?.() ?? 0}`);
});
afterEach(() => rmSync(temporary, { recursive: true }));

const ours = { url: "http://127.0.0.1:1234", operatorToken: "a-token" };

test("an announced sandbox is found, by this user only, until it is withdrawn", () => {
  const withdraw = announceSandbox(ours, temporary);
  expect(findSandbox(temporary)).toMatchObject(ours);
  expect(statSync(directory).mode & 0o777).toBe(0o700);
  expect(statSync(join(directory, "current.json")).mode & 0o777).toBe(0o600);
  withdraw();
  expect(findSandbox(temporary)).toBeUndefined();
});

test("a later sandbox wins, and the earlier one does not take its announcement away", () => {
  const withdraw = announceSandbox(ours, temporary);
  const later = { url: "http://127.0.0.1:5678", operatorToken: "another" };
  announceSandbox(later, temporary);
  withdraw();
  expect(findSandbox(temporary)).toMatchObject(later);
});

test("a directory that others may enter is neither used nor believed", () => {
  mkdirSync(directory);
  chmodSync(directory, 0o755);
  writeFileSync(
    join(directory, "current.json"),
    JSON.stringify({ ...ours, operator_token: "x", pid: process.pid }),
    {
      mode: 0o600,
    },
  );
  expect(findSandbox(temporary)).toBeUndefined();
  expect(() => announceSandbox(ours, temporary)).toThrow(/belongs to somebody else or is open to others/);
});

test("a symbolic link in place of the directory is refused", () => {
  const elsewhere = join(temporary, "elsewhere");
  mkdirSync(elsewhere, { mode: 0o700 });
  symlinkSync(elsewhere, directory);
  expect(() => announceSandbox(ours, temporary)).toThrow();
  expect(existsSync(join(elsewhere, "current.json"))).toBe(false);
});

test("what a killed sandbox left behind is ignored", async () => {
  const gone = Bun.spawn(["true"]);
  await gone.exited;
  announceSandbox(ours, temporary);
  const document = { url: ours.url, operator_token: ours.operatorToken, pid: gone.pid };
  writeFileSync(join(directory, "current.json"), JSON.stringify(document), { mode: 0o600 });
  expect(findSandbox(temporary)).toBeUndefined();
});
