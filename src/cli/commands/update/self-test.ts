// `self-test`: what an update asks of a new executable: reads a copy of this node's state, and talks to the API once.
import { Database } from "bun:sqlite";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import { databasePath, stateDirectory } from "../../../agent/agent.ts";
import { AGENT_MIGRATIONS } from "../../../agent/schema.ts";
import type { Config } from "../../../config/load.ts";
import { createHttp } from "../../../control/http.ts";
import { taskApi, withoutApiPrefix } from "../../../control/noderax-api.ts";
import { trustedAuthorities } from "../../../control/trust.ts";
import { knownIdentity } from "../../../identity/identity-file.ts";
import { AgentError, messageOf } from "../../../lib/agent-error.ts";
import { seconds } from "../../../lib/duration.ts";
import { openDatabase } from "../../../platform/database.ts";
import { createJournal } from "../../../tasks/journal.ts";
import { command } from "../../command.ts";
import { configFlags, configFrom } from "../../config-flags.ts";
import { interruption } from "../../interruption.ts";
import { print } from "../../ui/output.ts";

export default command({
  name: "self-test",
  description: "what an update asks of a new version: whether it can work with this node's state",
  hidden: true,
  args: { ...configFlags },
  async run({ args }) {
    const { signal } = interruption();
    const config = await configFrom(args);
    testState(stateDirectory(config.settings));
    const problem = await testApi(config, signal);
    if (problem !== undefined) print(problem);
  },
});

/** Opens a copy of the database as the agent would the original. Throws "state.*" when it cannot be read. */
function testState(directory: string): void {
  const path = databasePath(directory);
  if (!existsSync(path)) return;
  // Beside the original, and closed to others: it holds payloads of tasks.
  const copies = mkdtempSync(join(directory, ".self-test-"));
  try {
    const copy = join(copies, "state.db");
    const original = new Database(path, { readonly: true, strict: true });
    try {
      original.run("PRAGMA busy_timeout = 5000");
      original.run("VACUUM INTO ?", [copy]);
    } finally {
      original.close();
    }
    const database = openDatabase(copy, AGENT_MIGRATIONS);
    try {
      createJournal(database).unfinished();
    } finally {
      database.close();
    }
  } finally {
    rmSync(copies, { recursive: true, force: true });
  }
}

/**
 * Asks for the state of a task that does not exist: that changes nothing, and does not tell the server this version. Resolves
 * with why it was not answered, which is no failure; undefined when it was.
 */
async function testApi({ settings, planes }: Config, signal: AbortSignal): Promise<string | undefined> {
  const { api_url: apiUrl, api_tls_ca_file: caFile } = settings;
  const identity = knownIdentity(settings);
  if (!planes.includes("noderax") || apiUrl === undefined || identity === undefined) return undefined;
  try {
    const http = createHttp({
      baseUrl: withoutApiPrefix(apiUrl),
      authorities: () => trustedAuthorities(caFile),
    });
    await taskApi(http, identity, seconds(10)).control(crypto.randomUUID(), signal);
    return undefined;
  } catch (error) {
    if (!(error instanceof AgentError)) throw error;
    // What the server says of it is an answer; all else lies on the way.
    return error.status === 404
      ? undefined
      : `the control plane was not reached by the new version: ${messageOf(error)}`;
  }
}
