// What an installation changes and its removal removes, decided from what is on the machine.
import { describe, expect, test } from "bun:test";
import { type Found, hashOf } from "../../../src/install/found.ts";
import { partsHere, partsOf, taskUserOf } from "../../../src/install/parts.ts";
import { places } from "../../../src/install/places.ts";
import {
  type Part,
  describeStep,
  planInstall,
  planUninstall,
  recordInstall,
} from "../../../src/install/plan.ts";
import { seconds } from "../../../src/lib/duration.ts";

const options = {
  from: "/tmp/agent",
  hash: hashOf("agent"),
  config: places.config,
  stateDirectory: "/var/lib/noderax-agent",
  init: "systemd",
  systemd: 252,
  user: "ours",
  shutdownTimeout: seconds(4),
  proxy: undefined,
  authorities: undefined,
  shared: [],
} as const;
const parts = partsOf(options);
/** A manual page: its section has other pages already, its directory of completions is new. */
const withTexts = partsOf({
  ...options,
  shared: [
    { path: "/usr/local/share/zsh/site-functions/_noderax-agent", text: "#compdef noderax-agent" },
    { path: "/usr/local/share/man/man8/noderax-agent.8", text: ".TH" },
  ],
});
const shared: Found = { kind: "directory", uid: 0, mode: 0o2775, isEmpty: false };
const withManuals = new Map<string, Found>([
  ["/usr/local/share/man", shared],
  ["/usr/local/share/man/man8", shared],
]);

/** The machine after these parts were made. */
function installed(of: readonly Part[] = parts): Map<string, Found> {
  return new Map(
    of.map((part): [string, Found] => {
      if (part.kind === "directory")
        return [part.path, { kind: "directory", uid: part.owner ? 998 : 0, mode: part.mode, isEmpty: false }];
      if (part.kind === "link") return [part.path, { kind: "link", target: part.target }];
      if (part.kind === "user") return [part.path, { kind: "other" }];
      return [part.path, { kind: "file", hash: part.hash, uid: 0, mode: 0o644 }];
    }),
  );
}

const fresh = new Map<string, Found>();
const manifest = recordInstall(parts, fresh, undefined);

describe("beside a package", () => {
  const own = (change: Partial<typeof options> | object, hasDropIn = false): Part[] =>
    partsHere({ ...options, ...change }, { isPackaged: true, hasDropIn });
  const dropIn = (of: readonly Part[]): string | undefined => {
    const part = of.find(({ path }) => path === places.packageDropIn);
    return part?.kind === "text" ? part.text.split("[Service]\n")[1] : undefined;
  };

  test("an installation brings none of the package's files, and no drop-in where the package's unit fits", () => {
    const paths = own({}).map(({ path }) => path);
    expect(paths).toContain("/var/lib/noderax-agent");
    expect(paths.filter((path) => /^\/(opt|usr)|systemd/.test(path))).toEqual([]);
  });

  test("a drop-in of its own says what the package's unit does not fit, and none of the owner's is touched", () => {
    const parts = own({
      config: places.yaml,
      stateDirectory: "/srv/agent state",
      shutdownTimeout: seconds(60),
    });
    expect(dropIn(parts)?.split("\n")).toEqual([
      "Environment=NODERAX_CONFIG_FILE=/etc/noderax-agent/config.yaml",
      "TimeoutStopSec=75",
      'ReadWritePaths="-/srv/agent state"',
      "",
    ]);
    expect(parts.map(({ path }) => path)).toContain("/srv/agent state");
    expect(parts.some(({ path }) => path.startsWith(places.dropIns))).toBe(false);
    // Tasks find their run directories in the machine's /tmp.
    expect(dropIn(own({ stateDirectory: "/tmp/x" }))).toContain("PrivateTmp=no\n");
  });

  test("a drop-in of an earlier installation is emptied where it is not needed any more", () => {
    expect(dropIn(own({}, true))).toBe("");
    const alone = partsHere({ ...options, stateDirectory: "/srv/x" }, { isPackaged: false, hasDropIn: true });
    expect(dropIn(alone)).toBe("");
    expect(alone.some(({ path }) => path === places.unit)).toBe(true);
    expect(dropIn(own({ init: "openrc", stateDirectory: "/srv/x" }))).toBeUndefined();
  });

  test("a state directory of the owner's choice is removed only if an installation made it", () => {
    const parts = own({ stateDirectory: "/srv/x" });
    const there: Found = { kind: "directory", uid: 0, mode: 0o755, isEmpty: false };
    const after = new Map<string, Found>([["/srv/x", there]]);
    const removes = (before: ReadonlyMap<string, Found>, purge: boolean): boolean =>
      planUninstall(recordInstall(parts, before, undefined), after, purge).remove.some(
        ({ path }) => path === "/srv/x",
      );
    expect(removes(new Map(), true)).toBe(true);
    expect(removes(new Map(), false)).toBe(false);
    expect(removes(after, true)).toBe(false);
  });
});

describe("an installation", () => {
  test("makes everything on a fresh machine, directories before what lies in them", () => {
    const { steps, refused } = planInstall(parts, fresh);
    expect(refused).toEqual([]);
    // The record of what was made lies in the state directory: it comes first, so that no cut leaves a part unrecorded.
    expect(steps.map(describeStep)).toEqual([
      "make the directory /var/lib/noderax-agent",
      "make the user noderax with the home /var/lib/noderax",
      "make the directory /var/lib/noderax",
      "make the directory /opt/noderax-agent",
      "make the directory /etc/noderax-agent",
      "copy the program /opt/noderax-agent/noderax-agent",
      "make the link /usr/local/bin/noderax-agent to /opt/noderax-agent/noderax-agent",
      "write /etc/systemd/system/noderax-agent.service",
    ]);
  });

  test("makes only the missing directories of completions and manual page, and takes over none", () => {
    const lines = planInstall(withTexts, withManuals).steps.map(describeStep);
    expect(lines.filter((line) => line.includes("/usr/local/share"))).toEqual([
      "make the directory /usr/local/share/zsh",
      "make the directory /usr/local/share/zsh/site-functions",
      "write /usr/local/share/zsh/site-functions/_noderax-agent",
      "write /usr/local/share/man/man8/noderax-agent.8",
    ]);
    expect(planInstall(withTexts, installed(withTexts)).steps).toEqual([]);
  });

  test("changes nothing where it was made already", () => {
    expect(planInstall(parts, installed())).toEqual({ steps: [], refused: [] });
  });

  test("replaces another program and another unit alone", () => {
    const found = installed();
    found.set(places.program, { kind: "file", hash: hashOf("old"), uid: 998, mode: 0o755 });
    found.set(places.unit, { kind: "file", hash: hashOf("old unit"), uid: 0, mode: 0o644 });
    expect(planInstall(parts, found).steps.map(describeStep)).toEqual([
      `replace the program ${places.program}`,
      `replace ${places.unit}`,
    ]);
  });

  test.each([
    ["belongs to a service user", 998, 0o755],
    ["can be written by others", 0, 0o775],
  ])("takes a directory of its own that %s", (_, uid, mode) => {
    const found = installed();
    found.set("/opt/noderax-agent", { kind: "directory", uid, mode, isEmpty: false });
    expect(planInstall(parts, found).steps.map(describeStep)).toEqual(["give /opt/noderax-agent to root"]);
  });

  test("keeps proxy and authorities beside the configuration, which outlives an uninstall", () => {
    const withData = partsOf({
      ...options,
      proxy: "HTTPS_PROXY='http://p:1'\n",
      authorities: "PEM",
    });
    const made = planInstall(withData, fresh).steps.map(({ part }) => part.path);
    expect(made).toEqual(expect.arrayContaining([places.proxy, places.authorities]));
    expect(recordInstall(withData, fresh, undefined)).toEqual(manifest);
  });

  test("goes without its link where that cannot be made", () => {
    const { steps, refused } = planInstall(parts, new Map([[places.link, { kind: "closed" }]]));
    expect(steps.map(({ part }) => part.kind)).not.toContain("link");
    expect(refused).toEqual([{ path: places.link, why: "its directory cannot be written to" }]);
  });

  test("leaves something else with the name of its link", () => {
    const found = installed();
    found.set(places.link, { kind: "file", hash: "x", uid: 0, mode: 0o755 });
    expect(planInstall(parts, found)).toEqual({
      steps: [],
      refused: [{ path: places.link, why: "something else has this name" }],
    });
  });

  test.each([
    ["noderax", undefined, "ours"],
    ["noderax", { home: "/var/lib/noderax" }, "ours"],
    ["noderax", { home: "/var/lib/noderax-agent" }, "ours"],
    ["noderax", { home: "/var/lib/noderax-agent/home" }, "ours"],
    ["noderax", { home: "/home/noderax" }, "other"],
    ["web", undefined, "other"],
  ] as const)("with the task user %s at %p: the user is %s", (name, account, owner) => {
    expect(taskUserOf(name, account)).toBe(owner);
  });
});

describe("a removal", () => {
  const paths = (purge: boolean, found = installed()): readonly string[] =>
    planUninstall(manifest, found, purge).remove.map(({ path }) => path);

  test("with --purge removes all of it, in the order opposite to its making", () => {
    expect(paths(true)).toEqual(parts.map(({ path }) => path).toReversed());
  });

  test("leaves the directories of other programs' texts, also when an installation ran twice", () => {
    const first = recordInstall(withTexts, withManuals, undefined);
    const second = recordInstall(withTexts, installed(withTexts), first);
    for (const record of [first, second]) {
      const removed = planUninstall(record, installed(withTexts), false).remove.map(({ path }) => path);
      expect(removed.filter((path) => path.startsWith("/usr/local/share"))).toEqual([
        "/usr/local/share/man/man8/noderax-agent.8",
        "/usr/local/share/zsh/site-functions/_noderax-agent",
        "/usr/local/share/zsh/site-functions",
        "/usr/local/share/zsh",
      ]);
    }
  });

  test("removes what an earlier installation made for a program that is gone by now", () => {
    const record = recordInstall(parts, installed(), recordInstall(withTexts, fresh, undefined));
    const removed = planUninstall(record, installed(withTexts), false).remove.map(({ path }) => path);
    expect(removed).toContain("/usr/local/share/zsh/site-functions/_noderax-agent");
  });

  test("keeps data and the user without --purge", () => {
    expect(paths(false)).toEqual([places.unit, places.link, places.program, "/opt/noderax-agent"]);
    expect(planUninstall(manifest, installed(), false).kept.map(({ path }) => path)).toEqual([
      "/etc/noderax-agent",
      "/var/lib/noderax",
      "the user noderax",
      "/var/lib/noderax-agent",
    ]);
  });

  test("keeps a unit that was changed, and names it", () => {
    const found = installed();
    found.set(places.unit, { kind: "file", hash: hashOf("edited"), uid: 0, mode: 0o644 });
    const { remove, kept } = planUninstall(manifest, found, true);
    expect(remove.map(({ path }) => path)).not.toContain(places.unit);
    expect(kept).toEqual([{ path: places.unit, why: "it was changed after the installation" }]);
  });

  test("removes a program that an update has replaced", () => {
    const found = installed();
    found.set(places.program, { kind: "file", hash: hashOf("newer"), uid: 0, mode: 0o755 });
    expect(paths(false, found)).toContain(places.program);
  });

  test("keeps a user that was there before the first installation, also after a second one", () => {
    const first = recordInstall(parts, new Map([["noderax", { kind: "other" }]]), undefined);
    const second = recordInstall(parts, installed(), first);
    expect(planUninstall(second, installed(), true).remove.map(({ kind }) => kind)).not.toContain("user");
    const own = recordInstall(parts, installed(), manifest);
    expect(planUninstall(own, installed(), true).remove.map(({ kind }) => kind)).toContain("user");
  });

  test("passes over what is gone already", () => {
    expect(planUninstall(manifest, fresh, true)).toEqual({ remove: [], kept: [] });
  });
});
