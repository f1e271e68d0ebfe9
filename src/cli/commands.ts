// The tree of commands; each is imported when it is called.
import { type Command, command } from "./command.ts";

/** The program itself: every command is below it. */
export const root: Command = command({
  name: "noderax-agent",
  description: "turns a Linux machine into a managed node",
  examples: ["install", "enroll", "run", "status", "dev"],
  subCommands: {
    install: () => import("./commands/install.ts"),
    uninstall: () => import("./commands/uninstall.ts"),
    start: async () => ({ default: (await import("./commands/service.ts")).start }),
    stop: async () => ({ default: (await import("./commands/service.ts")).stop }),
    restart: async () => ({ default: (await import("./commands/service.ts")).restart }),
    run: () => import("./commands/run.ts"),
    enroll: () => import("./commands/enroll.ts"),
    bootstrap: () => import("./commands/bootstrap.ts"),
    status: () => import("./commands/status.ts"),
    drain: () => import("./commands/drain.ts"),
    gc: () => import("./commands/gc.ts"),
    task: () => import("./commands/task.ts"),
    packages: () => import("./commands/packages.ts"),
    forward: () => import("./commands/forward.ts"),
    logs: () => import("./commands/logs.ts"),
    config: () => import("./commands/config.ts"),
    sandbox: () => import("./commands/sandbox.ts"),
    dev: () => import("./commands/dev.ts"),
    version: () => import("./commands/version.ts"),
    completion: () => import("./commands/completion.ts"),
    man: () => import("./commands/man.ts"),
    "log-scan": async () => ({ default: (await import("./commands/go-helpers.ts")).logScan }),
    update: () => import("./commands/update.ts"),
    "update-watch": () => import("./commands/update/watch.ts"),
    "self-test": () => import("./commands/update/self-test.ts"),
  },
});
