// The environment of a command is nobody's but the task's.
import { expect, test } from "bun:test";
import { environmentOf } from "../../../src/tasks/run/environment.ts";

const account = { name: "noderax", uid: 990, gid: 990, home: "/var/lib/noderax", shell: "/bin/sh" };

test("a command sees its user, a dumb terminal and no pager, and nothing of the agent", () => {
  expect(environmentOf({}, account, "t1")).toEqual({
    PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    HOME: "/var/lib/noderax",
    USER: "noderax",
    LOGNAME: "noderax",
    SHELL: "/bin/sh",
    LANG: "C.UTF-8",
    TERM: "dumb",
    PAGER: "cat",
    COLUMNS: "100000",
    TASK_ID: "t1",
  });
});

test("the task's variables win over ours, except the one by which we find the task's processes", () => {
  expect(environmentOf({ PAGER: "less", TASK_ID: "another" }, account, "t1")).toMatchObject({
    PAGER: "less",
    TASK_ID: "t1",
  });
});
