// What a release says in words and numbers: notes, catalog, tags, and the record of several runs.
import { describe, expect, test } from "bun:test";
import { type Catalog, catalogWith } from "../../../.ci/release/manifest.ts";
import { notesOf } from "../../../.ci/release/notes.ts";
import { type Release, checkTags } from "../../../.ci/release/release.ts";
import { mergedProfiles } from "../../../.ci/release/profile.ts";

describe("the notes of a version", () => {
  const changelog = `# Changelog

## 1.1.0

- One,
  over two lines.
- Two.

### Security

- Three.

## 1.0.0

- Old.
`;

  test("are its bullets, in groups", () => {
    expect(notesOf(changelog, "1.1.0")).toEqual([
      { title: "Changes", items: ["One, over two lines.", "Two."] },
      { title: "Security", items: ["Three."] },
    ]);
    expect(notesOf(changelog, "1.0.0")).toEqual([{ title: "Changes", items: ["Old."] }]);
  });

  test.each(["1.1", "2.0.0"])("are missing for %s, which is said", (version) => {
    expect(() => notesOf(changelog, version)).toThrow(`says nothing below "## ${version}"`);
  });
});

describe("a catalog", () => {
  const release = (version: string): Release => ({
    version,
    commit: "test",
    directory: "/nowhere",
    place: "",
    seconds: 0,
  });
  const of = (...versions: string[]): Catalog | undefined =>
    versions.reduce<Catalog | undefined>(
      (catalog, version) => catalogWith(catalog, release(version)),
      undefined,
    );

  test.each([
    [["1.0.0", "1.10.0", "1.9.0"], "1.10.0", "1.10.0 1.9.0 1.0.0"],
    [["1.0.0", "2.0.0-rc.1"], "1.0.0", "2.0.0-rc.1 1.0.0"],
    [["2.0.0-rc.2", "2.0.0-rc.10"], "2.0.0-rc.10", "2.0.0-rc.10 2.0.0-rc.2"],
    [["1.0.0", "1.0.0"], "1.0.0", "1.0.0"],
  ])("of %p offers %s, and lists the highest first", (versions, latest, listed) => {
    const catalog = of(...versions);
    expect(catalog?.latest).toBe(latest);
    expect(catalog?.versions.map(({ version }) => version).join(" ")).toBe(listed);
  });

  test("of another product is refused", () => {
    const other = { product: "noderax-agent", latest: "9.9.9", versions: [] };
    expect(() => catalogWith(other, release("1.0.0"))).toThrow("is of noderax-agent, not of");
  });
});

test("tags of the commit must not contradict the version", () => {
  for (const tags of [[], [""], ["nightly"], ["v1.0.0"], ["agent-v1.0.0"], ["v2.0.0", "v1.0.0"]])
    expect(() => checkTags("1.0.0", tags)).not.toThrow();
  expect(() => checkTags("1.0.0", ["v1.0.1"])).toThrow("tagged v1.0.1");
});

test("records of several runs are one, the first run's order first", () => {
  expect(mergedProfiles(["v2\nF a\nK b\n", "v2\nK c\nF a\n"])).toBe("v2\nF a\nK b\nK c\n");
  expect(() => mergedProfiles(["v2\nF a\n", "v3\nF a\n"])).toThrow("not v2");
});
