// From a claimed task to a command: unknown kinds are explained, and the environment is nobody's but the task's.
import { expect, test } from "bun:test";
import { minutes } from "../../../src/lib/duration.ts";
import type { RunCommand } from "../../../src/tasks/kinds/kind.ts";
import { CAPABILITIES, environmentOf, prepareRun } from "../../../src/tasks/run/prepare.ts";

const account = { name: "noderax", uid: 990, gid: 990, home: "/var/lib/noderax", shell: "/bin/sh" };
const run: RunCommand = {
  do: "run",
  asRoot: false,
  shell: "/bin/bash",
  command: "true",
  workingDirectory: undefined,
  environment: {},
  timeout: minutes(1),
};

test.each(["packageTeleport", "", "SHELL.EXEC", "__proto__", "constructor"])(
  "the unknown type %p is refused with the known ones",
  (type) => {
    const context = {
      rootProfile: "off",
      rootRefusal: () => undefined,
      defaultTimeout: minutes(1),
      ownService: undefined,
      rebootRefusal: undefined,
    } as const;
    const prepared = prepareRun(type, {}, context);
    expect(prepared).toMatchObject({ do: "reject" });
    if (prepared.do === "reject") {
      expect(prepared.text).toStartWith(`unsupported task type "${type}"`);
      for (const known of CAPABILITIES) expect(prepared.text).toContain(known);
    }
  },
);

test("a command sees its user, a dumb terminal and no pager, and nothing of the agent", () => {
  expect(environmentOf(run, account, "t1")).toEqual({
    PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    HOME: "/var/lib/noderax",
    USER: "noderax",
    LOGNAME: "noderax",
    SHELL: "/bin/bash",
    LANG: "C.UTF-8",
    TERM: "dumb",
    PAGER: "cat",
    COLUMNS: "100000",
    TASK_ID: "t1",
  });
});

test("the payload's variables win over ours, except the one by which we find the task's processes", () => {
  const environment = { PAGER: "less", TASK_ID: "another" };
  expect(environmentOf({ ...run, environment }, account, "t1")).toMatchObject({
    PAGER: "less",
    TASK_ID: "t1",
  });
});
