// Counts the junit reports of `bun test` in a directory: names what failed or was skipped, ends on
// "N passed, N failed[, N skipped]".
import { existsSync, readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";

const [, , directory = ""] = process.argv;
const reports = existsSync(directory) ? readdirSync(directory) : [];
const xml = reports.map((name) => readFileSync(join(directory, name), "utf8")).join("\n");

// The outermost element of each report carries the sums; its inner suites repeat theirs.
const totals = [...xml.matchAll(/<testsuites\b[^>]*>/g)].map(([element]) => element);
const sum = (name) =>
  totals
    .map((element) => Number(new RegExp(`\\b${name}="(\\d+)"`).exec(element)?.[1] ?? 0))
    .reduce((all, one) => all + one, 0);

const cases = [...xml.matchAll(/<testcase\b([^>]*?)(?:\/>|>([\s\S]*?)<\/testcase>)/g)].map(
  ([, attributes = "", body = ""]) => ({
    title: ["file", "classname", "name"]
      .map((key) => attribute(attributes, key))
      .filter(Boolean)
      .join(" > "),
    skipped: body.includes("<skipped"),
    failed: /<(failure|error)\b/.test(body),
  }),
);

// A file that could not be loaded, or ended the process, leaves no trace in the report; bun counts it as one failure.
const reported = new Set(
  [...xml.matchAll(/<testsuite\b([^>]*)>/g)].map(([, text]) => attribute(text, "file")),
);
const silent = totals.length === 0 ? [] : testFiles().filter((file) => !reported.has(file));

const skipped = sum("skipped");
const failed = sum("failures") + sum("errors") + silent.length;
const passed = sum("tests") - sum("failures") - sum("errors") - skipped;

for (const { title } of cases.filter((one) => one.failed)) console.log(`FAILED: ${title}`);
for (const file of silent) console.log(`FAILED: ${file} (no test of it ran)`);
for (const { title } of cases.filter((one) => one.skipped))
  console.log(`SKIPPED, which is a failure here: ${title}`);
if (totals.length === 0) console.log("FAILED: the tests ended without a report");
else if (passed + failed === 0) console.log("FAILED: no test ran");

console.log(`${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ""}`);
process.exitCode = passed > 0 && failed === 0 && skipped === 0 ? 0 : 1;

function attribute(text, name) {
  const entities = { lt: "<", gt: ">", quot: '"', apos: "'", amp: "&" };
  const raw = new RegExp(`\\b${name}="([^"]*)"`).exec(text)?.[1] ?? "";
  return raw
    .replaceAll(/&#(\d+);/g, (_, code) => String.fromCodePoint(Number(code)))
    .replaceAll(/&(lt|gt|quot|apos|amp);/g, (_, entity) => entities[entity]);
}

/** The files bun takes for tests, named as in the report. */
function testFiles() {
  return readdirSync("test", { recursive: true, encoding: "utf8" })
    .map((name) => `test/${name}`)
    .filter((name) => /[._](test|spec)\.[cm]?[jt]sx?$/.test(name));
}
