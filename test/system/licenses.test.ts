// Promises of `version --licenses`: every package in the executable is there, with its text, and so is Bun.
import { expect, setDefaultTimeout, test } from "bun:test";
import { packagesInBundle } from "../../.ci/bundle.ts";
import { manifestOf } from "../../.ci/licenses.ts";
import { runBinary } from "../support/binary.ts";

setDefaultTimeout(150_000);

test("names Bun and every package whose code is in the executable", async () => {
  const packages = await packagesInBundle();
  expect(packages).toContain("valibot");
  // Left out by the build.
  expect(packages).not.toContain("ssh2");
  const { code, stdout } = await runBinary(["version", "--licenses"]);
  expect(code).toBe(0);
  const titles = [...stdout.matchAll(/^={80}\n(.+)\n={80}$/gm)].map(([, title]) => title);
  const expected = packages.map((name) => {
    const { version, license } = manifestOf(name);
    return `${name} ${version} (${license})`;
  });
  expect(titles).toEqual(["noderax-agent", `Bun ${Bun.version}`, ...expected]);
  expect(stdout).toContain("JavaScriptCore");
  // One of them, and no more, brings none.
  expect(stdout.split("comes without the text of its licence")).toHaveLength(2);
});

test("from source it says that only the executable has them", async () => {
  const { code, stderr } = await runBinary(["src/main.ts", "version", "--licenses"], {
    file: process.execPath,
    cwd: `${import.meta.dir}/../..`,
  });
  expect(code).toBe(1);
  expect(stderr).toContain("npm run build");
});
