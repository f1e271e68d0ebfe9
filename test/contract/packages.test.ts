// Package tasks between agent and control plane. What changes packages runs in a machine of its own: test/system/packages.test.ts.
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { packageAnswerOf, packageTaskOf } from "../../src/sandbox/noderax/packages.ts";
import { TEST_LIMIT, enrolledAgent } from "../support/agent.ts";

setDefaultTimeout(TEST_LIMIT);

const noApt = Bun.which("apt-get") === null || Bun.which("dpkg-query") === null;

const taskOf = (action: string, ...words: string[]) => {
  const task = packageTaskOf(action, words);
  if (typeof task === "string") throw new Error(task);
  return { ...task, unchecked: true };
};

describe.concurrent("what only reads", () => {
  test.skipIf(noApt)(
    "packageList: all packages of the machine in the completion, and no log row (needs apt)",
    async () => {
      await using node = await enrolledAgent();
      const task = node.runs(taskOf("list"));
      const answer = packageAnswerOf(await task.finishes("success"));
      if (!("packages" in answer)) throw new Error("no list");
      const dpkg = Bun.spawnSync([
        "dpkg-query",
        "-W",
        "-f",
        "${db:Status-Abbrev}${binary:Package}\n",
      ]).stdout.toString();
      const installed = dpkg.split("\n").filter((line) => /^[ih]i /.test(line));
      expect(answer.packages.map(({ name }) => name).sort()).toEqual(
        installed.map((line) => line.slice(3)).sort(),
      );
      const one = answer.packages.find(({ name }) => name === "dpkg");
      expect(one).toMatchObject({ status: "installed", description: expect.stringContaining("Debian") });
      expect(one?.version).toMatch(/^1\./);
      expect(one?.architecture).toMatch(/^\w+$/);
      expect(task.rows()).toEqual([]);
    },
  );

  test.skipIf(noApt)(
    "packageSearch: an installed package is found with its version (needs apt)",
    async () => {
      await using node = await enrolledAgent();
      const task = node.runs(taskOf("search", "dpkg"));
      const answer = packageAnswerOf(await task.finishes("success"));
      if (!("results" in answer)) throw new Error("no results");
      expect(answer.results[0]).toMatchObject({ name: "dpkg", status: "installed" });
      expect(answer.results[0]?.version).toMatch(/^1\./);
    },
  );

  test.skipIf(noApt)(
    "a search that looks like a flag or an expression finds nothing and fails at nothing (needs apt)",
    async () => {
      await using node = await enrolledAgent();
      for (const words of [["--root=/tmp"], ["qq[[(*+"], ["$(reboot)", "`id`"]]) {
        const answer = packageAnswerOf(await node.runs(taskOf("search", ...words)).finishes("success"));
        expect(answer).toEqual({ results: [], error: null });
      }
    },
  );

  test("an empty search is refused in words", async () => {
    await using node = await enrolledAgent();
    const task = node.runs({ type: "packageSearch", payload: { term: " ", query: "" } });
    expect(packageAnswerOf(await task.finishes("failed")).error).toContain("term is empty");
  });
});

describe.concurrent("what changes packages", () => {
  test("needs the operational surface, which the profile off does not give", async () => {
    await using node = await enrolledAgent();
    for (const action of ["install", "remove", "purge"]) {
      const answer = packageAnswerOf(await node.runs(taskOf(action, "nx-does-not-exist")).finishes("failed"));
      expect(answer.error).toContain("root access refused (operational)");
    }
  });

  test("is what the owner forbids with allow_packages, as is reading", async () => {
    await using node = await enrolledAgent({ settings: { allow_packages: false } });
    for (const request of [taskOf("install", "nx-does-not-exist"), taskOf("list")]) {
      const task = await node.runs(request).finishes("failed");
      expect(String(task.result?.["error"])).toContain("allow_packages");
    }
  });

  test.each([
    ["foo-", "ends with a dash"],
    ["-y", "begins with a dash"],
    ["foo\nbar", "characters"],
    ["foo;reboot", "characters"],
    ["./foo.deb", "characters"],
    ["foo*", "characters"],
    ["@tools", "characters"],
  ])("refuses the name %j in every field", async (name, why) => {
    await using node = await enrolledAgent();
    for (const payload of [{ names: [name] }, { packages: ["curl", name] }, { package: name }]) {
      const task = await node.runs({ type: "packageInstall", payload, unchecked: true }).finishes("failed");
      expect(String(task.result?.["error"])).toContain("invalid payload of packageInstall");
      expect(String(task.result?.["error"])).toContain(why);
    }
  });

  test("refuses a payload without a name, and one of another shape", async () => {
    await using node = await enrolledAgent();
    for (const [payload, why] of [
      [{}, "no package is named"],
      [{ names: [] }, "no package is named"],
      [{ names: "curl" }, "must be a list of names"],
      [{ names: [1] }, "must be a string"],
      [{ names: Array.from({ length: 2_001 }, (_, n) => `p${n}`) }, "more than 2000 packages"],
    ] as const) {
      const task = await node.runs({ type: "packageRemove", payload, unchecked: true }).finishes("failed");
      expect(String(task.result?.["error"])).toContain(why);
    }
  });
});
