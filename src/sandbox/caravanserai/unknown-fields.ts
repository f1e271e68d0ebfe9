// Lists the fields of a document that its schema does not have. The server drops them without an error, so the CLI warns
// about them: they may be mistyped.
import { nearest } from "../../lib/nearest.ts";

export interface UnknownField {
  /** ["spec", "services", 0, "imag"] */
  readonly path: readonly (string | number)[];
  /** The known field that was probably meant. */
  readonly suggestion: string | undefined;
}

/** As much of a valibot schema as tells which fields there are; a pipe has what its first schema has. */
interface Shape {
  readonly kind: "schema";
  readonly entries?: Readonly<Record<string, Shape>>;
  readonly item?: Shape;
  readonly wrapped?: Shape;
}

/** In the order of the document. What is of the wrong type is for the schema to say. */
export function unknownFields(
  shape: Shape,
  value: unknown,
  path: readonly (string | number)[] = [],
): UnknownField[] {
  const { entries, item, wrapped } = shape;
  if (wrapped) return unknownFields(wrapped, value, path);
  if (item && Array.isArray(value))
    return value.flatMap((one: unknown, at) => unknownFields(item, one, [...path, at]));
  if (entries === undefined || typeof value !== "object" || value === null || Array.isArray(value)) return [];
  return Object.entries(value).flatMap(([key, inner]): UnknownField[] => {
    const known = Object.hasOwn(entries, key) ? entries[key] : undefined;
    if (known) return unknownFields(known, inner, [...path, key]);
    return [{ path: [...path, key], suggestion: nearest(key, Object.keys(entries)) }];
  });
}
