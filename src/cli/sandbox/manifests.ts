// Files of projects and nodes: YAML or JSON, several documents in one, each checked before anything is sent.
import { readFileSync, statSync } from "node:fs";
import { AgentError, exit, messageOf } from "../../lib/agent-error.ts";
import { SyntaxProblem } from "../../config/syntax-problem.ts";
import { InvalidManifest, type Manifest, parseManifest } from "../../sandbox/caravanserai/manifest.ts";

export interface ReadManifest {
  readonly kind: Manifest["kind"];
  readonly name: string;
  /** As it was written, fields that are not known included. */
  readonly document: unknown;
}

/** More is no file that somebody wrote. */
const SIZE_MAX = 1024 * 1024;

/** "-" is standard input. Throws AgentError. */
export async function readManifests(file: string): Promise<ReadManifest[]> {
  const source = file === "-" ? "standard input" : file;
  const text = await readText(file, source);
  const found = await parseManifests(text, source);
  if (found.length === 0) throw problem(`${source} is empty`);
  return found;
}

async function readText(file: string, source: string): Promise<string> {
  try {
    // Asked first: a device or a pipe in place of a file has no end.
    if (file !== "-" && statSync(file).size > SIZE_MAX) throw new Error("larger than 1 MiB");
    const text = file === "-" ? await Bun.stdin.text() : readFileSync(file, "utf8");
    if (text.length > SIZE_MAX) throw new Error("larger than 1 MiB");
    return text;
  } catch (error) {
    throw new AgentError("sandbox.file", `cannot read ${source}: ${messageOf(error)}`, { cause: error });
  }
}

/** Checks what can be checked without the server. Throws AgentError with the line. */
export async function parseManifests(text: string, source: string): Promise<ReadManifest[]> {
  // JSON is YAML too. The package takes a while to load, and no other command of `sandbox` needs it.
  const { readYamlDocuments } = await import("../../config/yaml.ts");
  let documents;
  try {
    documents = readYamlDocuments(text);
  } catch (error) {
    if (!(error instanceof SyntaxProblem)) throw error;
    throw problem(`${source}, line ${error.at.line}: ${error.message}`);
  }
  return documents.map(({ value, lineOf }) => {
    try {
      const { kind, name } = parseManifest(value);
      return { kind, name, document: value };
    } catch (error) {
      if (!(error instanceof InvalidManifest)) throw error;
      const hint = error.problem === "must be a string" ? 'put it in quotes: "8080"' : undefined;
      throw problem(`${source}, line ${lineOf(error.path)}: ${error.message}`, hint);
    }
  });
}

const problem = (message: string, hint?: string): AgentError =>
  new AgentError("sandbox.manifest", message, { exit: exit.usage, hint });
