// The updater reads what the release build writes.
import { expect, test } from "bun:test";
import * as v from "valibot";
import { catalogWith, manifestOf } from "../../../../.ci/release/manifest.ts";
import { Catalog, ReleaseManifest, sourcesOf } from "../../../../src/install/update/release.ts";

const release = {
  version: "0.3.0",
  commit: "0123456789ab+dirty",
  directory: "/nowhere",
  place: "https://releases.example.com",
  seconds: 1_795_000_000,
};
const file = (name: string, digit: string, size: number) => ({ file: name, sha256: digit.repeat(64), size });
const build = {
  ...file("noderax-agent-0.3.0-linux-x64", "a", 118_000_000),
  compressed: file("noderax-agent-0.3.0-linux-x64.gz", "b", 45_000_000),
  patches: [
    {
      from: "0.2.0",
      fromSha256: "c".repeat(64),
      ...file("noderax-agent-0.2.0-to-0.3.0-linux-x64.patch", "d", 1_400_000),
    },
  ],
};

test("manifest and catalog of the release build are understood", () => {
  const written = manifestOf(
    release,
    [{ title: "Changes", items: ["One."] }],
    { "linux-x64": build },
    "0.2.0",
  );
  const read = v.parse(ReleaseManifest, JSON.parse(JSON.stringify(written)));
  expect(read).toMatchObject({ version: "0.3.0", minimumVersion: "0.2.0", builds: { "linux-x64": build } });
  const catalog = v.parse(Catalog, JSON.parse(JSON.stringify(catalogWith(undefined, release))));
  expect(catalog).toMatchObject({ latest: "0.3.0", versions: [{ version: "0.3.0" }] });
});

test("the smallest way comes first, and a patch only for exactly the executable it was made from", () => {
  const ways = (sha256: string) =>
    sourcesOf({ ...build, patches: [...build.patches] }, { sha256 }).map(({ by }) => by);
  expect(ways("c".repeat(64))).toEqual(["patch", "compressed", "plain"]);
  expect(ways("e".repeat(64))).toEqual(["compressed", "plain"]);
});
