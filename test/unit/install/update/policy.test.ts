// Promises of what an asker gets: which version, and why not.
import { describe, expect, test } from "bun:test";
import { hours } from "../../../../src/lib/duration.ts";
import { parseWindow } from "../../../../src/lib/time-window.ts";
import { type UpdateFacts, type Wanted, chooseVersion } from "../../../../src/install/update/policy.ts";
import { compareVersions } from "../../../../src/install/update/release.ts";

const NOON = new Date(2026, 10, 26, 12, 0).getTime();

const facts: UpdateFacts = {
  current: "0.2.0",
  highest: "0.2.0",
  latest: "0.3.0",
  offered: ["0.3.0", "0.2.0", "0.1.0"],
  failed: [],
  allow: "auto",
  pin: undefined,
  window: undefined,
  now: NOON,
};
const owner: Wanted = { by: "owner", version: undefined, allowDowngrade: false };

const choose = (wanted: Partial<Wanted> = {}, changed: Partial<UpdateFacts> = {}) =>
  chooseVersion({ ...owner, ...wanted }, { ...facts, ...changed });

describe("a node is updated", () => {
  test("to the newest version, to the one that is named, or to the pinned one", () => {
    expect(choose()).toEqual({ do: "update", version: "0.3.0" });
    expect(choose({}, { offered: ["0.4.0", "0.3.0"], latest: "0.4.0", pin: "0.3.0" })).toEqual({
      do: "update",
      version: "0.3.0",
    });
    expect(choose({ version: "0.3.0" }, { latest: "0.2.5" })).toEqual({ do: "update", version: "0.3.0" });
  });

  test("not when it runs the newest, or a newer one", () => {
    expect(choose({}, { latest: "0.2.0" })).toEqual({ do: "nothing", version: "0.2.0" });
    expect(choose({}, { current: "0.4.0" })).toEqual({ do: "nothing", version: "0.4.0" });
  });

  test("to an older version only when that is asked for, also after a rollback", () => {
    expect(choose({ version: "0.1.0" })).toMatchObject({ do: "refuse" });
    expect(choose({ version: "0.1.0", allowDowngrade: true })).toEqual({ do: "update", version: "0.1.0" });
    expect(choose({ version: "0.2.0" }, { current: "0.1.0", highest: "0.3.0" })).toMatchObject({
      do: "refuse",
    });
  });

  test("only to what is offered, and only to the pinned version", () => {
    expect(choose({ version: "0.9.0" })).toMatchObject({
      do: "refuse",
      why: expect.stringContaining("not offered"),
    });
    expect(choose({ version: "0.3.0" }, { pin: "0.2.0" })).toMatchObject({
      do: "refuse",
      why: expect.stringContaining("update_pin"),
    });
  });

  test("by whom the owner allows it", () => {
    const asked = (by: Wanted["by"]) =>
      (["off", "manual", "control-plane", "auto"] as const).map(
        (allow) => choose({ by }, { allow }).do === "update",
      );
    expect(asked("owner")).toEqual([false, true, true, true]);
    expect(asked("control-plane")).toEqual([false, false, true, true]);
    expect(asked("agent")).toEqual([false, false, false, true]);
  });

  test("by itself not to what failed in the last 24 hours, unless somebody asks", () => {
    const failed = [{ version: "0.3.0", at: NOON - hours(23), reason: "it did not start" }];
    expect(choose({ by: "agent" }, { failed })).toMatchObject({ do: "hold", until: NOON + hours(1) });
    expect(choose({ by: "owner" }, { failed }).do).toBe("update");
    expect(choose({ by: "control-plane" }, { failed }).do).toBe("update");
    const before = failed.map((one) => ({ ...one, at: NOON - hours(24) }));
    expect(choose({ by: "agent" }, { failed: before }).do).toBe("update");
    // The clock was set back by years since.
    const ahead = failed.map((one) => ({ ...one, at: NOON + hours(9_000) }));
    expect(choose({ by: "agent" }, { failed: ahead })).toMatchObject({ until: NOON + hours(24) });
  });

  test("by itself in its window alone", () => {
    const window = parseWindow("02:00-04:30");
    const tomorrow = new Date(2026, 10, 27, 2, 0).getTime();
    expect(choose({ by: "agent" }, { window })).toMatchObject({ do: "hold", until: tomorrow });
    expect(choose({ by: "agent" }, { window, now: tomorrow }).do).toBe("update");
    expect(choose({ by: "owner" }, { window }).do).toBe("update");
  });
});

test("versions are ordered by their numbers, and what is no version comes first", () => {
  const sorted = ["1.0.0", "0.10.0", "0.9.9", "1.0.0-rc.1", "dev"].toSorted(compareVersions);
  expect(sorted).toEqual(["dev", "0.9.9", "0.10.0", "1.0.0-rc.1", "1.0.0"]);
});
