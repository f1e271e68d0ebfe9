// The main job: a queued command is claimed, started, logged and completed, in the environment it was promised.
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { asRoot, enrolledAgent, enrolledProcess, TEST_LIMIT } from "../support/agent.ts";

setDefaultTimeout(TEST_LIMIT);

describe.concurrent("a command", () => {
  test("is run once, and its output, exit code and duration reach the operator", async () => {
    await using node = await enrolledAgent();
    const marker = node.file("ran");
    const task = node.runs(`echo x >> ${marker.path}; echo hello; echo oops >&2; sleep 0.2; exit 7`);
    const { result, output } = await task.finishes("failed");
    expect(marker.lines()).toEqual(["x"]);
    expect(
      task
        .rows()
        .map(({ level, line }) => `${level} ${line}`)
        .sort(),
    ).toEqual(["stderr oops", "stdout hello"]);
    expect(output).toContain("hello\n");
    expect(output).toContain("oops\n");
    expect(result).toMatchObject({ exitCode: 7, error: "exit code 7" });
    expect(result?.["durationMs"]).toBeWithin(200, 15_000);
  });

  test("that says nothing succeeds with an empty output", async () => {
    await using node = await enrolledAgent();
    const task = node.runs("true");
    expect(await task.finishes("success")).toMatchObject({ output: "", result: { exitCode: 0 } });
    expect(task.rows()).toEqual([]);
  });

  test("that kills itself or does not exist is explained", async () => {
    await using node = await enrolledAgent();
    const [killed, missing] = [node.runs("kill -9 $$"), node.runs("no-such-command-here")];
    expect((await killed.finishes("failed")).result).toMatchObject({
      exitCode: 137,
      error: "killed by SIGKILL (exit code 137)",
    });
    expect((await missing.finishes("failed")).result).toMatchObject({ exitCode: 127 });
  });

  test("obeys shell, working_dir and environment of its payload", async () => {
    await using node = await enrolledAgent();
    const task = node.runs('echo "$0|$PWD|$GREETING|$N|$PAGER"', {
      shell: "/bin/bash",
      working_dir: "/usr",
      environment: { GREETING: 'it\'s "me"\nagain $HOME', N: 5, PAGER: "less" },
    });
    const { output } = await task.finishes("success");
    expect(output).toBe('/bin/bash|/usr|it\'s "me"\nagain $HOME|5|less\n');
  });

  test("in a working directory that is not there fails before it runs", async () => {
    await using node = await enrolledAgent();
    const marker = node.file("ran");
    const task = node.runs(`touch ${marker.path}`, { working_dir: "/no/such/directory" });
    expect((await task.finishes("failed")).result).toMatchObject({ exitCode: 126 });
    expect(marker.text()).toBeUndefined();
  });

  test.each([
    ["timeout_seconds", 1],
    ["timeoutSeconds", 1],
    ["timeoutSeconds", "1"],
    ["timeout", "1s"],
  ])("is ended by %p: %p", async (key, value) => {
    await using node = await enrolledAgent({ settings: { task_timeout: "1h" } });
    const task = node.runs("echo before; sleep 60", { [key]: value });
    const { result, output } = await task.finishes("failed");
    expect(output).toStartWith("before\n");
    expect(result).toMatchObject({ reason: "timeout" });
    expect(String(result?.["error"])).toMatch(/timed out after \d+s \(the limit is 1s\)/);
  });

  test("sees a clean environment, and nothing of the agent's", async () => {
    await using node = await enrolledProcess({
      env: {
        BUN_X: "1",
        SECRET_THING: "s3cret",
        LD_PRELOAD_X: "no",
        PAGER: "less",
        TERM: "xterm",
        COLUMNS: "80",
        NODERAX_LOG_LEVEL: "debug",
        OLDPWD: "/root",
      },
    });
    const task = node.runs("env -0 | sort -z | tr '\\0' '\\n'");
    const { output } = await task.finishes("success");
    const variables = Object.fromEntries(
      (output ?? "")
        .trim()
        .split("\n")
        .map((line) => line.split(/=(.*)/s)),
    );
    for (const shell of ["_", "PWD", "SHLVL", "OLDPWD"]) delete variables[shell];
    const own = { PATH: expect.any(String), HOME: expect.any(String), USER: expect.any(String) };
    expect(variables).toEqual({
      ...own,
      LOGNAME: variables["USER"],
      SHELL: "/bin/sh",
      LANG: "C.UTF-8",
      TERM: "dumb",
      PAGER: "cat",
      COLUMNS: "100000",
      TASK_ID: task.id,
    });
    if (asRoot) expect(variables["USER"]).toBe("nobody");
  });

  test("does not see the identity when that comes from the environment", async () => {
    await using node = await enrolledProcess({ started: false });
    const { node_id: id, agent_token: token } = JSON.parse(await Bun.file(node.stateFile).text()) as Record<
      string,
      string
    >;
    await using other = await enrolledProcess({
      enrolled: false,
      settings: { api_url: node.plane.url },
      env: { AGENT_TOKEN: token ?? "", NODE_ID: id ?? "" },
    });
    const task = node.runs("env; tr '\\0' '\\n' < /proc/$PPID/environ; true");
    const { output } = await task.finishes("success");
    expect(output).not.toContain(token ?? "");
    expect(output).not.toContain("AGENT_TOKEN");
    expect(other.log.join("")).not.toContain(token ?? "");
  });

  test("has an end-of-file on stdin, and no descriptor of the agent", async () => {
    await using node = await enrolledAgent();
    const task = node.runs("cat; readlink /proc/self/fd/0; ls /proc/self/fd");
    expect((await task.finishes("success")).output).toMatch(/^\/dev\/null\n0\n1\n2\n3\n$/);
  });

  test.skipIf(!asRoot)(
    "runs as the task user, who can read nothing of the agent's (needs root)",
    async () => {
      await using node = await enrolledAgent();
      const task = node.runs(`id -un; id -Gn; cat ${node.stateFile}; ls ${node.stateDirectory}; echo end`);
      const { output } = await task.finishes("success");
      expect(output).toStartWith("nobody\nnogroup\n");
      expect(output).toContain("Permission denied");
      expect(output).not.toContain("agent_token");
    },
  );

  test("with quotes, newlines and a here-document arrives as it was typed", async () => {
    await using node = await enrolledAgent();
    const task = node.runs(`cat <<'END'\nit's "here" \\ $HOME \`x\`\nEND\nprintf '%s\\n' "ä€😀"`);
    expect((await task.finishes("success")).output).toBe('it\'s "here" \\ $HOME `x`\nä€😀\n');
  });
});

describe.concurrent("a task that is not run", () => {
  test.each([
    ["an unknown type", { type: "make.coffee", payload: {} }, 'unsupported task type "make.coffee"'],
    ["a missing command", { payload: {} }, "command is missing"],
    ["an empty command", { payload: { command: " \n" } }, "command is empty"],
    ["a command of another kind", { payload: { command: ["ls"] } }, "invalid payload of shell.exec: command"],
    [
      "a relative directory",
      { payload: { command: "ls", working_dir: "tmp" } },
      "working_dir must be an absolute path",
    ],
    [
      "a wrong time-out",
      { payload: { command: "ls", timeout: "soon" } },
      "invalid payload of shell.exec: timeout",
    ],
    ["a variable's name", { payload: { command: "ls", environment: { "A-B": "x" } } }, "environment"],
    [
      "a command too long",
      { payload: { command: `: ${"x".repeat(140_000)}` } },
      "is longer than 131071 bytes",
    ],
  ])("says why: %s", async (_, request, text) => {
    await using node = await enrolledAgent();
    const { result, output } = await node.runs(request).finishes("failed");
    expect(String(result?.["error"])).toContain(text);
    expect(output).toContain(text);
  });

  test("does not keep the agent from the next one", async () => {
    await using node = await enrolledAgent();
    const [bad, good] = [node.runs({ type: "make.coffee" }), node.runs("echo fine")];
    await bad.finishes("failed");
    expect((await good.finishes("success")).output).toBe("fine\n");
  });
});
