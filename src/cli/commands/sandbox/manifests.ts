// Reads manifests of projects and nodes: YAML or JSON, several in one file, all checked before anything is sent.
import { readFileSync, statSync } from "node:fs";
import { errnoText } from "../../../lib/errno.ts";
import { MIB } from "../../../lib/size.ts";
import { AgentError, exit } from "../../../lib/agent-error.ts";
import { SyntaxProblem } from "../../../config/syntax-problem.ts";
import {
  InvalidManifest,
  type ResourceManifest,
  dotted,
  parseManifest,
  unknownFieldsOf,
} from "../../../sandbox/caravanserai/manifest.ts";

export interface ReadManifest {
  readonly kind: ResourceManifest["kind"];
  readonly name: string;
  /** As written, unknown fields included. */
  readonly document: unknown;
  /** Fields that the server does not know, each with file and line. */
  readonly warnings: readonly string[];
}

/** Larger than any manifest written by hand. */
const SIZE_MAX = MIB;

/** Reads a file, or standard input for "-". Throws "sandbox.file", and "sandbox.manifest" (exit 2) for wrong content. */
export async function readManifests(file: string): Promise<ReadManifest[]> {
  const source = file === "-" ? "standard input" : file;
  const text = await readText(file, source);
  const found = await parseManifests(text, source);
  if (found.length === 0) throw problem(`${source} is empty`);
  return found;
}

async function readText(file: string, source: string): Promise<string> {
  try {
    // Checked before reading: a device or pipe has no end.
    if (file !== "-" && statSync(file).size > SIZE_MAX) throw new Error("larger than 1 MiB");
    const text = file === "-" ? await Bun.stdin.text() : readFileSync(file, "utf8");
    if (text.length > SIZE_MAX) throw new Error("larger than 1 MiB");
    return text;
  } catch (error) {
    throw new AgentError("sandbox.file", `cannot read ${source}: ${errnoText(error)}`, { cause: error });
  }
}

/** Parses and checks what needs no server. Throws "sandbox.manifest" (exit 2) with the line. */
export async function parseManifests(text: string, source: string): Promise<ReadManifest[]> {
  // JSON is YAML, too. Imported here: no other command of `sandbox` needs the package, which is slow to load.
  const { readYamlDocuments } = await import("../../../config/yaml.ts");
  let documents;
  try {
    documents = readYamlDocuments(text);
  } catch (error) {
    if (!(error instanceof SyntaxProblem)) throw error;
    throw problem(`${source}, line ${error.at.line}: ${error.message}`);
  }
  return documents.map(({ value, lineOf }) => {
    const at = (path: readonly (string | number)[]): string => `${source}, line ${lineOf(path)}: `;
    const unknown = unknownFieldsOf(value).map(({ path, suggestion }) => {
      const meant = suggestion === undefined ? "" : ` (did you mean ${suggestion}?)`;
      return { path, text: `unknown field ${dotted(path)}${meant}` };
    });
    try {
      const { kind, name } = parseManifest(value);
      return { kind, name, document: value, warnings: unknown.map(({ path, text }) => at(path) + text) };
    } catch (error) {
      if (!(error instanceof InvalidManifest)) throw error;
      const quotes = error.problem === "must be a string" ? ['Put it in quotes: "8080".'] : [];
      // A missing field may be present under a mistyped name.
      const siblings = unknown.filter(({ path }) => around(path) === around(error.path));
      const hint = [...quotes, ...siblings.map(({ text }) => `Beside it: ${text}.`)];
      throw problem(`${at(error.path)}${error.message}`, hint);
    }
  });
}

const around = (path: readonly (string | number)[]): string => dotted(path.slice(0, -1));

const problem = (message: string, hint?: readonly string[]): AgentError =>
  new AgentError("sandbox.manifest", message, { exit: exit.usage, hint });
