// Typed rows in SQLite, as strict as PostgreSQL: NUL, too long values, and lone surrogates in JSON are refused.
import type { Database, SQLQueryBindings } from "bun:sqlite";
import type { Column, Entity } from "./column.ts";
import { internalError } from "./http/api-error.ts";

/** A table with the columns of an entity, whose rows are `Row`. Its key is the first column that is the primary key. */
export class Table<Row extends object> {
  readonly #database: Database;
  readonly #name: string;
  readonly #columns: readonly (readonly [string, Column])[];
  readonly #key: string;

  constructor(database: Database, { table, columns }: Entity) {
    this.#database = database;
    this.#name = table;
    this.#columns = Object.entries(columns);
    this.#key = this.#columns.find(([, { constraint }]) => constraint === "PRIMARY KEY")?.[0] ?? "rowid";
  }

  insert(row: Row): Row {
    const names = this.#columns.map(([name]) => `"${name}"`).join(", ");
    const marks = this.#columns.map(() => "?").join(", ");
    const values = this.#columns.map(([name, column]) => encode(column, valueOf(row, name)));
    this.#database.query(`INSERT INTO ${this.#name} (${names}) VALUES (${marks})`).run(...values);
    return row;
  }

  /** Writes the whole row back, as an entity manager does: changes since it was read are overwritten. */
  save(row: Row): Row {
    this.#write(row, this.#columns, valueOf(row, this.#key));
    return row;
  }

  /** Writes only the fields that are given. `when` is a further SQL condition; false when no row met it. */
  update(id: string, change: Partial<Row>, when?: { sql: string; values: SQLQueryBindings[] }): boolean {
    const columns = this.#columns.filter(([name]) => name in change);
    return columns.length === 0 || this.#write(change, columns, id, when) > 0;
  }

  get(id: string): Row | undefined {
    return this.find(`"${this.#key}" = ?`, id);
  }

  find(where: string, ...values: SQLQueryBindings[]): Row | undefined {
    return this.all(`${where} LIMIT 1`, ...values)[0];
  }

  /** `where` is the rest of the SELECT: a condition, and an ORDER BY or LIMIT when wanted. */
  all(where = "1 ORDER BY rowid", ...values: SQLQueryBindings[]): Row[] {
    return this.#database
      .query<Record<string, unknown>, SQLQueryBindings[]>(`SELECT * FROM ${this.#name} WHERE ${where}`)
      .all(...values)
      .map((row) => this.#decode(row));
  }

  count(where: string, ...values: SQLQueryBindings[]): number {
    const row = this.#database
      .query<{ n: number }, SQLQueryBindings[]>(`SELECT count(*) AS n FROM ${this.#name} WHERE ${where}`)
      .get(...values);
    return row?.n ?? 0;
  }

  delete(where: string, ...values: SQLQueryBindings[]): void {
    this.#database.query(`DELETE FROM ${this.#name} WHERE ${where}`).run(...values);
  }

  #write(
    row: object,
    columns: readonly (readonly [string, Column])[],
    id: unknown,
    when?: { sql: string; values: SQLQueryBindings[] },
  ): number {
    const set = columns.map(([name]) => `"${name}" = ?`).join(", ");
    const values = columns.map(([name, column]) => encode(column, valueOf(row, name)));
    const condition = when ? ` AND (${when.sql})` : "";
    return this.#database
      .query(`UPDATE ${this.#name} SET ${set} WHERE "${this.#key}" = ?${condition}`)
      .run(...values, String(id), ...(when?.values ?? [])).changes;
  }

  #decode(stored: Record<string, unknown>): Row {
    const entries = this.#columns.map(([name, { kind }]) => [name, decode(kind, stored[name])]);
    // The columns are the fields of Row, and only this class writes the table.
    return Object.fromEntries(entries) as Row;
  }
}

const valueOf = (row: object, name: string): unknown => Reflect.get(row, name);

function encode({ kind, limit }: Column, value: unknown): SQLQueryBindings {
  if (value === null || value === undefined) return null;
  if (kind === "json") {
    if (!everyText(value, (part) => !part.includes("\0") && part.isWellFormed())) throw internalError();
    return JSON.stringify(value);
  }
  if (kind === "boolean") return value === true ? 1 : 0;
  if (kind === "integer" || kind === "real") return Number(value);
  if (typeof value !== "string" || value.includes("\0")) throw internalError();
  if (limit !== undefined && Array.from(value).length > limit) throw internalError();
  return value.toWellFormed();
}

function decode(kind: Column["kind"], value: unknown): unknown {
  if (value === null || value === undefined) return null;
  if (kind === "boolean") return value === 1;
  return kind === "json" && typeof value === "string" ? JSON.parse(value) : value;
}

function everyText(value: unknown, holds: (text: string) => boolean): boolean {
  if (typeof value === "string") return holds(value);
  if (typeof value !== "object" || value === null) return true;
  return Object.entries(value).every(([key, inner]) => holds(key) && everyText(inner, holds));
}
