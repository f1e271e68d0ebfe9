// Reads the top level of a YAML file with the line of every key, and files with several documents. The only
// user of the yaml package.
import {
  type Document,
  LineCounter,
  type Node,
  isAlias,
  isCollection,
  isMap,
  isNode,
  isScalar,
  isSeq,
  parseAllDocuments,
  parseDocument,
} from "yaml";
import { messageOf } from "../lib/agent-error.ts";
import type { FileEntry } from "./files.ts";
import { SyntaxProblem } from "./syntax-problem.ts";
import type { RawValue } from "./value.ts";

/**
 * Reads the entries; an empty file has none. Does not expand collections (they are `nested`), so aliases
 * cannot grow.
 */
export function scanYaml(text: string): readonly FileEntry[] {
  const lines = new LineCounter();
  const document = parseYaml(text, lines);
  const { contents } = document;
  if (contents === null || (isScalar(contents) && contents.value === null)) return [];
  if (!isMap<Node, Node | null>(contents))
    throw new SyntaxProblem("expected keys and values", { line: 1, column: 1 });
  const seen = new Map<string, number>();
  return contents.items.map(({ key: node, value }) => {
    const { line, col } = lines.linePos(node.range?.[0] ?? 0);
    const key = isScalar(node) ? String(node.value) : "?";
    const first = seen.get(key);
    if (first !== undefined) {
      throw new SyntaxProblem(`${key} stands twice, first in line ${first}`, { line, column: col });
    }
    seen.set(key, line);
    return { key, value: rawValue(value, document), line };
  });
}

export interface YamlDocument {
  /** The document as JSON data. */
  readonly value: unknown;
  /** Returns the line of the node at a path, or of the closest one around it. */
  readonly lineOf: (path: readonly (string | number)[]) => number;
}

/** Reads all documents of a text, without empty ones. Throws SyntaxProblem. */
export function readYamlDocuments(text: string): YamlDocument[] {
  const lineCounter = new LineCounter();
  const parsed = parseAllDocuments(text.replace(/^\ufeff/, ""), { lineCounter, prettyErrors: false });
  // Comments alone are no document.
  return (Array.isArray(parsed) ? parsed : []).flatMap((document): YamlDocument[] => {
    const [error] = document.errors;
    const start = lineCounter.linePos(error?.pos[0] ?? document.contents?.range?.[0] ?? 0);
    if (error) throw new SyntaxProblem(error.message, { line: start.line, column: start.col });
    const value = valueOf(document, start.line);
    if (value === null) return [];
    return [{ value, lineOf: (path) => lineCounter.linePos(offsetOf(document.contents, path)).line }];
  });
}

function valueOf(document: Document.Parsed, line: number): unknown {
  try {
    // Aliases may refer to aliases: the package stops at 100 expansions.
    return document.toJS();
  } catch (error) {
    throw new SyntaxProblem(messageOf(error), { line, column: 1 });
  }
}

/** Returns the offset of the deepest node along a path; for a value in a map, of its key. */
function offsetOf(root: unknown, path: readonly (string | number)[]): number {
  let node = root;
  let offset = isNode(root) ? (root.range?.[0] ?? 0) : 0;
  for (const step of path) {
    const pair = isMap(node)
      ? node.items.find(({ key }) => isScalar(key) && String(key.value) === String(step))
      : undefined;
    const next: unknown = isCollection(node) ? node.get(step, true) : undefined;
    const anchor = pair?.key ?? next;
    if (!isNode(anchor)) return offset;
    offset = anchor.range?.[0] ?? offset;
    node = next;
  }
  return offset;
}

/**
 * Parses; throws SyntaxProblem. Does not check that keys are unique, which takes the package quadratic time.
 */
function parseYaml(text: string, lineCounter: LineCounter): Document.Parsed {
  const document = parseDocument(text.replace(/^\ufeff/, ""), {
    lineCounter,
    prettyErrors: false,
    uniqueKeys: false,
  });
  const [error] = document.errors;
  if (error) {
    const { line, col } = lineCounter.linePos(error.pos[0]);
    throw new SyntaxProblem(error.message, { line, column: col });
  }
  return document;
}

function rawValue(node: Node | null, document: Document.Parsed): RawValue {
  const target = isAlias(node) ? node.resolve(document) : node;
  if (isScalar(target)) return rawScalar(target.value, target.source);
  if (isSeq<Node>(target))
    return target.items.map((item) => (isScalar(item) ? rawScalar(item.value) : { nested: true }));
  return target === null || target === undefined ? null : { nested: true };
}

/** Keeps the text of numbers: `node_id: 0123` and `zone: 1.10` must not lose digits. */
function rawScalar(value: unknown, source?: string): RawValue {
  if (typeof value === "boolean" || typeof value === "string" || value === null) return value;
  return (
    source ?? (typeof value === "number" || typeof value === "bigint" ? String(value) : { nested: true })
  );
}

/** Returns the text with top-level keys set or, where undefined, removed. Keeps comments and order. */
export function editYaml(
  text: string,
  changes: ReadonlyMap<string, string | number | boolean | undefined>,
): string {
  const document = parseYaml(text, new LineCounter());
  if (!isMap(document.contents) && document.contents !== null && !isEmptyScalar(document.contents)) {
    throw new SyntaxProblem("expected keys and values", { line: 1, column: 1 });
  }
  for (const [key, value] of changes) {
    if (value === undefined) document.delete(key);
    else document.set(key, value);
  }
  return document.toString({ lineWidth: 0 });
}

const isEmptyScalar = (node: unknown): boolean => isScalar(node) && node.value === null;
