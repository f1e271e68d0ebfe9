// The top level of a YAML file with the line of every key. The only file that knows the yaml package.
import { type Document, LineCounter, type Node, isAlias, isMap, isScalar, isSeq, parseDocument } from "yaml";
import type { FileEntry } from "./files.ts";
import { SyntaxProblem } from "./syntax-problem.ts";
import type { RawValue } from "./value.ts";

/** An empty file has no entries. Collections are not expanded, so aliases cannot grow: they end as `nested`. */
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

/** Throws SyntaxProblem. The package compares every key with every other: who needs them unique looks himself. */
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

/** Numbers keep the text they were written as: `node_id: 0123` and `zone: 1.10` must not lose digits. */
function rawScalar(value: unknown, source?: string): RawValue {
  if (typeof value === "boolean" || typeof value === "string" || value === null) return value;
  return (
    source ?? (typeof value === "number" || typeof value === "bigint" ? String(value) : { nested: true })
  );
}

/** The text with top-level keys set or, where `undefined`, removed; comments and order stay. */
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
