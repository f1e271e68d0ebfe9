// Columns of the sandbox's tables: each states once the type of its field, its SQL, and whether operators see it.
import * as v from "valibot";

export interface Column<Value = unknown, Shown extends boolean = boolean> {
  readonly kind: "text" | "integer" | "real" | "boolean" | "json";
  readonly value: v.GenericSchema<Value>;
  readonly nullable: boolean;
  /** In characters, as PostgreSQL counts them; a longer value is an internal error, as in the original. */
  readonly limit: number | undefined;
  /** What follows the type in SQL: a key, a reference. */
  readonly constraint: string;
  /** Part of the document that operators read. */
  readonly shown: Shown;
}

const column = <Value>(kind: Column["kind"], value: v.GenericSchema<Value>): Column<Value, true> => ({
  kind,
  value,
  nullable: false,
  limit: undefined,
  constraint: "",
  shown: true,
});

export const text = column("text", v.string());
export const integer = column("integer", v.number());
export const real = column("real", v.number());
export const boolean = column("boolean", v.boolean());
export const varchar = (limit: number): Column<string, true> => ({ ...text, limit });

export const oneOf = <const Options extends readonly string[]>(
  options: Options,
): Column<Options[number], true> => column("text", v.picklist(options));

export const record = column("json", v.record(v.string(), v.unknown()));

/** JSON of a shape that is parsed where it comes in, and never on the way out of the database. */
export const json = <Value>(): Column<Value, true> =>
  column(
    "json",
    v.custom<Value>(() => true),
  );

export const nullable = <Value, Shown extends boolean>(
  of: Column<Value, Shown>,
): Column<Value | null, Shown> => ({ ...of, value: v.nullable(of.value), nullable: true });

export const hidden = <Value>(of: Column<Value>): Column<Value, false> => ({ ...of, shown: false });

export const unique = <Value, Shown extends boolean>(of: Column<Value, Shown>): Column<Value, Shown> => ({
  ...of,
  constraint: "UNIQUE",
});

export const key = { ...text, constraint: "PRIMARY KEY" };

/** The id of a row of another table; a row is deleted together with the one it refers to. */
export const idOf = (table: string, to = "id"): Column<string, true> => ({
  ...text,
  constraint: `REFERENCES ${table} (${to}) ON DELETE CASCADE`,
});

export type Columns = Readonly<Record<string, Column>>;

/** What a table keeps: the one place where its fields are written. */
export interface Entity<Fields extends Columns = Columns> {
  readonly table: string;
  readonly columns: Fields;
  /** SQL inside of CREATE TABLE behind the columns, such as a key of two columns. */
  readonly constraint: string | undefined;
  /** The columns of each index. */
  readonly indexes: Readonly<Record<string, string>>;
}

export const entity = <Fields extends Columns>(
  table: string,
  columns: Fields,
  more: { constraint?: string; indexes?: Record<string, string> } = {},
): Entity<Fields> => ({ table, columns, constraint: more.constraint, indexes: more.indexes ?? {} });

/** The row of an entity, as code reads and writes it. */
export type RowOf<Of extends Entity> = {
  -readonly [Name in keyof Of["columns"]]: v.InferOutput<Of["columns"][Name]["value"]>;
};

type SnakeCase<Name> = Name extends `${infer First}${infer Rest}`
  ? First extends Lowercase<First>
    ? `${First}${SnakeCase<Rest>}`
    : `_${Lowercase<First>}${SnakeCase<Rest>}`
  : "";

type DocumentEntries<Fields extends Columns> = {
  readonly [
    Name in keyof Fields as Fields[Name] extends Column<unknown, true> ? SnakeCase<Name> : never
  ]: Fields[Name]["value"];
};

type DocumentFields<Entries extends Readonly<Record<string, Column["value"]>>> = {
  -readonly [Name in keyof Entries]: v.InferOutput<Entries[Name]>;
};

export interface DocumentType<Of extends Entity> {
  readonly schema: v.ObjectSchema<DocumentEntries<Of["columns"]>, undefined>;
  /** The document of one row. */
  readonly of: (row: RowOf<Of>) => DocumentFields<DocumentEntries<Of["columns"]>>;
}

const snakeCase = (name: string): string => name.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);

/** The document of an entity: its shown columns under snake_case names. */
export function documentOf<Of extends Entity>(of: Of): DocumentType<Of> {
  const shown = Object.entries(of.columns).filter(([, { shown: show }]) => show);
  const entries = shown.map(([name, { value }]) => [snakeCase(name), value]);
  type Type = DocumentType<Of>;
  return {
    // By construction: the names and values are those of the type, which TypeScript cannot follow through entries.
    schema: v.object(Object.fromEntries(entries)) as Type["schema"],
    of: (row) =>
      Object.fromEntries(shown.map(([name]) => [snakeCase(name), Reflect.get(row, name)])) as ReturnType<
        Type["of"]
      >,
  };
}

const SQL_TYPES = { text: "TEXT", integer: "INTEGER", real: "REAL", boolean: "INTEGER", json: "TEXT" };

/** `"cols" INTEGER NOT NULL`. */
export function columnSql(name: string, { kind, nullable: mayBeNull, constraint }: Column): string {
  return [`"${name}"`, SQL_TYPES[kind], mayBeNull ? "" : "NOT NULL", constraint].filter(Boolean).join(" ");
}

/** The statements that make an entity's table and its indexes where they do not exist. */
export function tableSql({ table, columns, constraint, indexes }: Entity): string[] {
  const parts = Object.entries(columns).map(([name, column]) => columnSql(name, column));
  if (constraint !== undefined) parts.push(constraint);
  return [
    `CREATE TABLE IF NOT EXISTS ${table} (\n  ${parts.join(",\n  ")}\n) STRICT`,
    ...Object.entries(indexes).map(([name, of]) => `CREATE INDEX IF NOT EXISTS ${name} ON ${table} (${of})`),
  ];
}
