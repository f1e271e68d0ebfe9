// The control plane's request validation: implicit conversion, unknown keys refused, and its exact messages.
//
// Problems of one field come in reverse order of its rules, as the original's decorators report them; unknown keys
// come first. Lengths count Unicode code points.
import { ApiError } from "../http/api-error.ts";

export type Read<T> = { readonly value: T } | { readonly problems: readonly string[] };

/** Reads one field. `raw` is undefined when the key is missing. */
export interface Field<T> {
  read(raw: unknown, name: string): Read<T>;
}

export type Fields = Record<string, Field<unknown>>;
export type Values<F extends Fields> = { [K in keyof F]: F[K] extends Field<infer T> ? T : never };

interface Rule<T> {
  holds(value: T): boolean;
  message(name: string): string;
}

/** Null counts as absent. */
const missing = (raw: unknown): boolean => raw === undefined || raw === null;
const points = (text: string): number => Array.from(text).length;

function check<T>(value: T, rules: readonly Rule<T>[], name: string): Read<T> {
  const problems = rules.filter((rule) => !rule.holds(value)).map((rule) => rule.message(name));
  return problems.length === 0 ? { value } : { problems: problems.reverse() };
}

const refused = (rules: readonly Rule<never>[], name: string): Read<never> => ({
  problems: rules.map((rule) => rule.message(name)).reverse(),
});

export interface TextRules {
  min?: number;
  max?: number;
  trim?: boolean;
  lowerCase?: boolean;
  /** One more rule about the content, with its message. */
  format?: { pattern: RegExp; message: string };
}

/** A string; numbers and booleans become one. */
export function textField({ min, max, trim, lowerCase, format }: TextRules = {}): Field<string> {
  const rules: Rule<string>[] = [{ holds: () => true, message: (name) => `${name} must be a string` }];
  if (format) {
    rules.push({
      holds: (value) => format.pattern.test(value),
      message: (name) => `${name} ${format.message}`,
    });
  }
  if (min !== undefined) {
    rules.push({
      holds: (value) => points(value) >= min,
      message: (name) => `${name} must be longer than or equal to ${min} characters`,
    });
  }
  if (max !== undefined) {
    rules.push({
      holds: (value) => points(value) <= max,
      message: (name) => `${name} must be shorter than or equal to ${max} characters`,
    });
  }
  return {
    read(raw, name) {
      if (missing(raw)) return refused(rules, name);
      let value = String(raw);
      if (trim) value = value.trim();
      if (lowerCase) value = value.toLowerCase();
      return check(value, rules, name);
    },
  };
}

export const email = (): Field<string> =>
  textField({
    trim: true,
    lowerCase: true,
    format: { pattern: /^[^\s@<>()[\],;:"]+@[^\s@.]+(\.[^\s@.]+)+$/, message: "must be an email" },
  });

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;
export const isUuid = (value: string): boolean => UUID.test(value);
export const uuidField = (): Field<string> =>
  textField({ format: { pattern: UUID, message: "must be a UUID" } });

const ISO_DATE =
  /^\d{4}-[01]\d-[0-3]\d(?:[T ][0-2]\d:[0-5]\d(?::[0-6]\d(?:[.,]\d+)?)?(?:Z|[+-][0-2]\d:?[0-5]\d)?)?$/i;

/** A moment, as ISO text; digits below the millisecond are cut. */
export function isoDate(): Field<string> {
  const message = (name: string): string => `${name} must be a valid ISO 8601 date string`;
  return {
    read(raw, name) {
      if (missing(raw) || !ISO_DATE.test(String(raw))) return { problems: [message(name)] };
      const moment = new Date(
        String(raw)
          .replace(/([.,]\d{3})\d+/, "$1")
          .replace(",", "."),
      );
      return Number.isNaN(moment.getTime()) ? { problems: [message(name)] } : { value: moment.toISOString() };
    },
  };
}

/** One of `values`. `listed: false` is the original's slip of naming none of them. */
export function oneOfField<const T extends string>(
  values: readonly T[],
  { listed = true }: { listed?: boolean } = {},
): Field<T> {
  return {
    read(raw, name) {
      const found = values.find((value) => value === (missing(raw) ? undefined : String(raw)));
      if (found !== undefined) return { value: found };
      return {
        problems: [`${name} must be one of the following values: ${listed ? values.join(", ") : ""}`],
      };
    },
  };
}

export interface NumberRules {
  min?: number;
  max?: number;
  integer?: boolean;
}

/** A number; numeric text becomes one. */
export function number({ min, max, integer = false }: NumberRules = {}): Field<number> {
  const kind = integer ? "an integer number" : "a number conforming to the specified constraints";
  const rules: Rule<number>[] = [
    {
      holds: (value) => (integer ? Number.isInteger(value) : Number.isFinite(value)),
      message: (name) => `${name} must be ${kind}`,
    },
  ];
  if (min !== undefined) {
    rules.push({
      holds: (value) => value >= min,
      message: (name) => `${name} must not be less than ${min}`,
    });
  }
  if (max !== undefined) {
    rules.push({
      holds: (value) => value <= max,
      message: (name) => `${name} must not be greater than ${max}`,
    });
  }
  return {
    read: (raw, name) => (missing(raw) ? refused(rules, name) : check(Number(raw), rules, name)),
  };
}

/** A whole number, pulled into the range instead of refused. */
export const clampedInt = (min: number, max: number): Field<number> => {
  const whole = number({ integer: true });
  return {
    read(raw, name) {
      const result = whole.read(raw, name);
      return "value" in result ? { value: Math.min(max, Math.max(min, result.value)) } : result;
    },
  };
};

export function strings(): Field<string[]> {
  return {
    read(raw, name) {
      if (!Array.isArray(raw))
        return { problems: [`each value in ${name} must be a string`, `${name} must be an array`] };
      const value = raw.filter((entry): entry is string => typeof entry === "string");
      return value.length === raw.length
        ? { value }
        : { problems: [`each value in ${name} must be a string`] };
    },
  };
}

const isRecord = (raw: unknown): raw is Record<string, unknown> =>
  typeof raw === "object" && raw !== null && !Array.isArray(raw);

/** Any JSON object, with any keys. */
export const anyObject = (): Field<Record<string, unknown>> => ({
  read: (raw, name) => (isRecord(raw) ? { value: raw } : { problems: [`${name} must be an object`] }),
});

/** Absent or null reads as undefined. */
export const optional = <T>(field: Field<T>): Field<T | undefined> => ({
  read: (raw, name) => (missing(raw) ? { value: undefined } : field.read(raw, name)),
});

/** An object with exactly these keys; problems inside are prefixed with its name. */
export function nested<F extends Fields>(fields: F): Field<Values<F>> {
  return {
    read(raw, name) {
      if (!isRecord(raw)) return { problems: [`nested property ${name} must be either object or array`] };
      const result = readFields(fields, raw);
      if ("value" in result) return result;
      return { problems: result.problems.map((problem) => `${name}.${problem}`) };
    },
  };
}

/** Reads a body, or throws the API's 400 with every problem. */
export function validate<F extends Fields>(fields: F, body: unknown): Values<F> {
  const result = isRecord(body)
    ? readFields(fields, body)
    : { problems: ["an unknown value was passed to the validate function"] };
  if ("value" in result) return result.value;
  throw new ApiError(400, result.problems.join("; "), result.problems);
}

function readFields<F extends Fields>(fields: F, raw: Record<string, unknown>): Read<Values<F>> {
  const problems = Object.keys(raw)
    .filter((key) => !Object.hasOwn(fields, key))
    .map((key) => `property ${key} should not exist`);
  const values: [string, unknown][] = [];
  for (const [name, field] of Object.entries(fields)) {
    const result = field.read(Object.hasOwn(raw, name) ? raw[name] : undefined, name);
    if ("problems" in result) problems.push(...result.problems);
    else values.push([name, result.value]);
  }
  // Every field has left its value by now, each of the type its reader promises.
  return problems.length > 0 ? { problems } : { value: Object.fromEntries(values) as Values<F> };
}
