// Completions and the manual page, for the programs that are there to read them.
import { accessSync, constants, existsSync } from "node:fs";
import { join } from "node:path";
import type { SharedText } from "../../../install/parts.ts";
import { SHARED } from "../../../install/places.ts";
import { SYSTEM_PATH } from "../../../platform/account.ts";
import { completionFor } from "../completion.ts";
import { manualPage } from "../man.ts";

/** Where each of these programs looks for them, and how to see that it is there. */
const READERS = [
  {
    path: "bash-completion/completions/noderax-agent",
    isHere: () => existsSync("/usr/share/bash-completion/bash_completion"),
    render: () => completionFor("bash"),
  },
  { path: "zsh/site-functions/_noderax-agent", isHere: () => has("zsh"), render: () => completionFor("zsh") },
  {
    path: "fish/vendor_completions.d/noderax-agent.fish",
    isHere: () => has("fish"),
    render: () => completionFor("fish"),
  },
  { path: "man/man8/noderax-agent.8", isHere: () => has("man"), render: manualPage },
];

const has = (program: string): boolean => Bun.which(program, { PATH: SYSTEM_PATH }) !== null;

/** Returns what to write below SHARED; nothing where that is read-only or missing: the agent works without. */
export async function sharedTexts(): Promise<readonly SharedText[]> {
  try {
    accessSync(SHARED, constants.W_OK);
  } catch {
    return [];
  }
  const here = READERS.filter(({ isHere }) => isHere());
  return Promise.all(
    here.map(async ({ path, render }) => ({
      path: join(SHARED, path),
      text: `${(await render()).trimEnd()}\n`,
    })),
  );
}
