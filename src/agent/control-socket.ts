// Serves commands over a socket (0600) in the state directory, and holds the lock that admits one agent to
// it.
import { errnoOf } from "../lib/errno.ts";
import { abortScope } from "../lib/abort-scope.ts";
import { chmodSync, existsSync, mkdirSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { AgentError, exit } from "../lib/agent-error.ts";
import { steadyNow } from "../lib/clock.ts";
import { type Duration, milliseconds, minutes, seconds } from "../lib/duration.ts";
import { sleep } from "../lib/loop.ts";
import * as v from "valibot";
import { isRoot } from "../platform/account.ts";
import { takeLock } from "../platform/lock.ts";
import { Status } from "./status.ts";

const NAME = "agent.sock";

/** What commands need to use the HTTP server of this agent. `status` must not print it. */
const Access = v.object({ listen_token: v.nullable(v.string()) });
export type Access = v.InferOutput<typeof Access>;

/** How to wait for another agent that is about to end. */
export interface LockWait {
  /** Called once, with the pid of the other agent; undefined when it does not answer. */
  readonly onWait?: (pid: number | undefined) => void;
  /** Gives up waiting. */
  readonly signal?: AbortSignal;
}

/** Disposing of it releases the directory to the next agent: close everything in it before. */
export interface StatusSocket extends Disposable {
  /** Stops answering, and keeps the lock. */
  stopServing(): void;
}

/** How long to wait for an agent that reports that it is stopping: longer than a stop takes by default. */
const STOPPING_PATIENCE = minutes(1);
/** How long to wait for any other agent: it may be stopping. */
const RUNNING_PATIENCE = seconds(3);
const LOCK_PAUSE = milliseconds(100);

/**
 * Takes the lock and serves the socket. Waits for another agent that is stopping; throws "agent.running" when
 * it goes on, or when `wait.signal` aborts. Calls `onNews` when a command has changed the state on disk.
 */
export async function serveStatus(
  directory: string,
  status: () => Status,
  onNews: () => void = () => {},
  access: Access = { listen_token: null },
  wait: LockWait = {},
): Promise<StatusSocket> {
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  const lock = await lockDirectory(directory, wait);
  const path = join(directory, NAME);
  try {
    // A socket that exists is stale: its owner would hold the lock.
    rmSync(path, { force: true });
    // Bun takes a path of any length, where the kernel allows 107 bytes.
    const server = Bun.serve({
      unix: path,
      fetch({ method, url }) {
        if (url.endsWith("/access")) return Response.json(access);
        if (method === "POST") onNews();
        return Response.json(status());
      },
    });
    chmodSync(path, 0o600);
    let isServing = true;
    const stopServing = (): void => {
      if (!isServing) return;
      isServing = false;
      void server.stop(true);
      rmSync(path, { force: true });
    };
    return {
      stopServing,
      [Symbol.dispose]() {
        stopServing();
        lock[Symbol.dispose]();
      },
    };
  } catch (error) {
    lock[Symbol.dispose]();
    throw error;
  }
}

async function lockDirectory(directory: string, { onWait, signal }: LockWait): Promise<Disposable> {
  const giveUp = steadyNow() + STOPPING_PATIENCE;
  let patientUntil = steadyNow() + RUNNING_PATIENCE;
  for (let tries = 1; ; tries++) {
    const lock = takeLock(join(directory, "agent.lock"));
    if (lock !== undefined) return lock;
    const other = await askStatus(directory, seconds(1)).catch(() => undefined);
    // A stopping agent first stops to answer, then releases the lock.
    if (other?.stopping === true) patientUntil = Math.min(steadyNow() + RUNNING_PATIENCE, giveUp);
    if (steadyNow() > patientUntil || signal?.aborted) throw await alreadyRunning(directory);
    if (tries === 1) onWait?.(other?.pid);
    await sleep(LOCK_PAUSE, signal);
  }
}

/**
 * As root, throws "agent.running" when the agent of another owner runs in the directory, which must not be
 * taken over then.
 */
export async function refuseOtherOwnersAgent(directory: string): Promise<void> {
  const owner = statSync(directory, { throwIfNoEntry: false })?.uid ?? 0;
  if (isRoot() && owner !== 0 && (await askStatus(directory)) !== undefined)
    throw await alreadyRunning(directory);
}

async function alreadyRunning(directory: string): Promise<AgentError> {
  const other = await askStatus(directory, seconds(2)).catch(() => undefined);
  const who = other === undefined ? "it does not answer" : `pid ${other.pid}`;
  return new AgentError("agent.running", `an agent with this state directory runs already (${who})`, {
    hint: [
      "Look at it:  noderax-agent status",
      `Two agents with one identity (${directory}) would throw each other out.`,
    ],
  });
}

/**
 * Returns the status of the agent in this state directory; undefined when none runs. Throws
 * "agent.forbidden", "agent.silent".
 */
export const askStatus = (directory: string, timeout?: Duration): Promise<Status | undefined> =>
  ask({ method: "GET", path: "/status", schema: Status }, directory, timeout);

/** Tells the agent that a command has changed the state on disk. Resolves and throws as `askStatus`. */
export const tellNews = (directory: string): Promise<Status | undefined> =>
  ask({ method: "POST", path: "/status", schema: Status }, directory);

/** Returns what is needed to ask the agent for logs and tunnels. Resolves and throws as `askStatus`. */
export const askAccess = (directory: string): Promise<Access | undefined> =>
  ask({ method: "GET", path: "/access", schema: Access }, directory);

interface Question<S extends v.GenericSchema> {
  readonly method: "GET" | "POST";
  readonly path: string;
  readonly schema: S;
}

async function ask<const S extends v.GenericSchema>(
  { method, path, schema }: Question<S>,
  directory: string,
  timeout: Duration = seconds(3),
): Promise<v.InferOutput<S> | undefined> {
  if (!existsSync(join(directory, NAME))) return undefined;
  using scope = abortScope([], timeout);
  try {
    const response = await fetch(`http://agent${path}`, {
      method,
      unix: join(directory, NAME),
      signal: scope.signal,
    });
    return v.parse(schema, await response.json());
  } catch (error) {
    if (errnoOf(error) === "EACCES") {
      throw new AgentError("agent.forbidden", `the agent in ${directory} belongs to another user`, {
        hint: "Ask as that user, or with sudo.",
        exit: exit.refused,
      });
    }
    if (error instanceof DOMException && error.name === "TimeoutError") {
      throw new AgentError("agent.silent", `the agent in ${directory} does not answer`, {
        hint: "It hangs or is stopped: check its process and its log, then start it again.",
        exit: exit.unreachable,
      });
    }
    return undefined; // Nobody listens: the socket of an agent that was killed.
  }
}
