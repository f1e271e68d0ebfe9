// Tries a new executable before anything is exchanged: its version, then its own self-test with a copy of this node's state.
import { AgentError, messageOf } from "../../lib/agent-error.ts";
import { type Duration, seconds } from "../../lib/duration.ts";
import { printable } from "../../lib/printable.ts";
import { SYSTEM_PATH } from "../../platform/account.ts";

/** A start takes milliseconds; a busy machine with a slow disk reads the executable for some seconds. */
const VERSION_LIMIT: Duration = seconds(30);
/** Longer than its request to the control plane may take. */
const TEST_LIMIT: Duration = seconds(60);
/** Of what it prints: characters that can stand in a message. */
const WORDS_MAX = 300;

/**
 * Runs `CANDIDATE --version` and `CANDIDATE self-test` with `settings` as arguments. Returns what the self-test has noted, as a
 * control plane that cannot be reached. Throws "update.probe".
 */
export async function probe(
  candidate: string,
  version: string,
  settings: readonly string[],
  environment: Readonly<Record<string, string>>,
): Promise<readonly string[]> {
  const told = await run([candidate, "--version"], VERSION_LIMIT, environment);
  const [, found] = /^noderax-agent (\S+)/.exec(told.out) ?? [];
  if (told.code !== 0 || found === undefined) throw failed("does not start", told);
  if (found !== version)
    throw new AgentError("update.probe", `the new executable says it is ${found}, not ${version}`, {
      hint: "Nothing was changed.",
    });
  const test = await run([candidate, "self-test", ...settings], TEST_LIMIT, environment);
  if (test.code !== 0) throw failed("fails its self-test", test);
  return test.out.split("\n").filter(Boolean);
}

interface ProbeResult {
  readonly code: number | string;
  readonly out: string;
  readonly error: string;
}

const failed = (what: string, { code, out, error }: ProbeResult): AgentError => {
  const words = printable((error || out).trim().replace(/^error: /, "")).slice(0, WORDS_MAX);
  return new AgentError("update.probe", `the new version ${what} here: ${words || `exit code ${code}`}`, {
    hint: "Nothing was changed.",
  });
};

async function run(
  command: readonly string[],
  limit: Duration,
  environment: Readonly<Record<string, string>>,
): Promise<ProbeResult> {
  try {
    const child = Bun.spawn([...command], {
      cwd: "/",
      env: { ...environment, PATH: SYSTEM_PATH },
      stdio: ["ignore", "pipe", "pipe"],
      timeout: limit,
      killSignal: "SIGKILL",
    });
    const [out, error] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
    return { code: child.exitCode ?? `none: it took longer than ${limit / 1_000} s`, out, error };
  } catch (error) {
    return { code: 127, out: "", error: messageOf(error) };
  }
}
