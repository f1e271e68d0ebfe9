// Parses documents of operators and agents: nodes and projects, heartbeats, reports. Unknown fields are ignored.
import * as v from "valibot";
import { API_VERSION, NAME, NODE_STATES, PHASES } from "../../protocol/caravanserai/resources.ts";
import { type ProjectSpec, ZERO_TIME } from "./resources.ts";
import { type UnknownField, unknownFields } from "./unknown-fields.ts";

/** What is wrong with a document, and where: ["spec", "services", 0, "image"]. */
export class InvalidManifest extends Error {
  override readonly name = "InvalidManifest";

  constructor(
    readonly problem: string,
    readonly path: readonly (string | number)[] = [],
  ) {
    super(path.length === 0 ? problem : `${dotted(path)}: ${problem}`);
  }
}

/** "spec.services[0].image" */
export const dotted = (path: readonly (string | number)[]): string =>
  path.map((key, at) => (typeof key === "number" ? `[${key}]` : at === 0 ? key : `.${key}`)).join("");

export type StringMap = Record<string, string>;

export interface ProjectManifest {
  readonly name: string;
  readonly labels: StringMap | null;
  readonly annotations: StringMap | null;
  readonly spec: ProjectSpec;
}

export interface NodeManifest {
  readonly name: string;
  readonly labels: StringMap | null;
  readonly annotations: StringMap | null;
  readonly hostname: string;
  readonly unschedulable: boolean;
}

export type ResourceManifest =
  | ({ readonly kind: "Project" } & ProjectManifest)
  | ({ readonly kind: "Node" } & NodeManifest);
export const KINDS = ["Project", "Node"] as const;

/** A message for both ways to be wrong: missing, which valibot blames on the map around, and of another type. */
const expected = (what: string) => (issue: v.BaseIssue<unknown>) =>
  issue.input === undefined || issue.input === null ? "is required" : `must be ${what}`;

const text = v.string(expected("a string"));
const required = v.pipe(text, v.nonEmpty("is required"));
const name = v.pipe(
  required,
  v.maxLength(253, "is longer than 253 characters"),
  v.regex(
    NAME,
    "must consist of lower case letters, digits, '-' and '.', and begin and end with a letter or digit",
  ),
);
/** Go reads null as an empty list, and writes none where it is empty. */
const list = <S extends v.GenericSchema>(item: S) =>
  v.pipe(
    v.nullish(v.array(item, "must be a list")),
    v.transform((items) => (items?.length ? items : undefined)),
  );
const stringMap = v.nullish(v.record(v.string(), text, "must be a map of strings"), null);
const time = v.pipe(
  v.nullish(text, ZERO_TIME),
  v.transform((given) => (given === "" ? ZERO_TIME : given)),
  v.check(
    (given) => /^\d{4}-\d\d-\d\dT[\d:.]+(Z|[+-]\d\d:\d\d)$/.test(given) && !Number.isNaN(Date.parse(given)),
    "must be a time like 2030-01-31T12:00:00Z",
  ),
);

const Envelope = v.object(
  {
    apiVersion: v.literal(API_VERSION, expected(`"${API_VERSION}"`)),
    kind: v.picklist(KINDS, ({ input }) =>
      input === undefined
        ? "is required"
        : `unknown kind ${JSON.stringify(input)}; there are ${KINDS.join(" and ")}`,
    ),
    metadata: v.object({ name, labels: stringMap, annotations: stringMap }, expected("a map")),
  },
  expected("a resource with apiVersion, kind, metadata and spec"),
);

const Service = v.object(
  {
    name: required,
    image: required,
    env: list(
      v.pipe(
        v.object({ name: required, value: v.nullish(text) }, expected("a map with name and value")),
        v.transform(({ name, value }) =>
          value === null || value === undefined ? { name } : { name, value },
        ),
      ),
    ),
    volumeMounts: list(
      v.object({ name: required, mountPath: required }, expected("a map with name and mountPath")),
    ),
  },
  expected("a map"),
);

/** A mount of a volume that is not listed passes, as it does on the real server: the agent reports it. */
const Spec = v.object(
  {
    services: v.pipe(
      v.array(Service, expected("a list")),
      v.minLength(1, "at least one service is required"),
      unique("service"),
    ),
    volumes: list(
      v.object({ name: required, type: v.nullish(text, "Ephemeral") }, expected("a map with name and type")),
    ),
    ingress: list(
      v.object(
        {
          name: v.nullish(text, ""),
          host: v.nullish(text, ""),
          target: v.object(
            { service: required, port: v.number(expected("a number")) },
            expected("a map with service and port"),
          ),
          access: v.nullish(v.object({ scope: v.nullish(text, "Internal") }), { scope: "Internal" }),
        },
        expected("a map"),
      ),
    ),
    expireAt: time,
  },
  expected("a map"),
);

function unique<T extends { readonly name: string }>(what: string) {
  return v.rawCheck<T[]>(({ dataset, addIssue }) => {
    if (!dataset.typed) return;
    const seen = new Set<string>();
    for (const { name } of dataset.value) {
      if (seen.has(name)) addIssue({ message: `${what} ${name} stands twice` });
      seen.add(name);
    }
  });
}

const WithSpec = v.object({ spec: Spec });
const WithHostname = v.object({
  spec: v.nullish(
    v.object(
      { hostname: v.nullish(text), unschedulable: v.nullish(v.boolean("must be true or false")) },
      "must be a map",
    ),
  ),
});

/** What the server itself writes into a resource may stand in one that is applied again. */
const ofServer = v.nullish(v.unknown());
const Metadata = v.object({
  ...Envelope.entries.metadata.entries,
  createdAt: ofServer,
  updatedAt: ofServer,
});
const Resource = v.object({ ...Envelope.entries, metadata: Metadata, status: ofServer });
const Fields = {
  Project: v.object({ ...Resource.entries, ...WithSpec.entries }),
  Node: v.object({ ...Resource.entries, ...WithHostname.entries }),
};

/** The fields of a document that nobody reads. One of an unknown kind has none. */
export function unknownFieldsOf(raw: unknown): UnknownField[] {
  const kind = v.safeParse(v.object({ kind: v.picklist(KINDS) }), raw);
  return kind.success ? unknownFields(Fields[kind.output.kind], raw) : [];
}

/** Reads a document of either kind. Throws InvalidManifest. */
export function parseManifest(raw: unknown): ResourceManifest {
  return parse(Envelope, raw).kind === "Project"
    ? { kind: "Project", ...parseProject(raw) }
    : { kind: "Node", ...parseNode(raw) };
}

export function parseProject(raw: unknown): ProjectManifest {
  const metadata = metadataOf("Project", raw);
  return { ...metadata, spec: dense(parse(WithSpec, raw).spec) };
}

export function parseNode(raw: unknown): NodeManifest {
  const metadata = metadataOf("Node", raw);
  const { hostname, unschedulable } = parse(WithHostname, raw).spec ?? {};
  return { ...metadata, hostname: hostname ?? metadata.name, unschedulable: unschedulable ?? false };
}

function metadataOf(
  wanted: ResourceManifest["kind"],
  raw: unknown,
): Pick<ProjectManifest, "name" | "labels" | "annotations"> {
  const { kind, metadata } = parse(Envelope, raw);
  if (kind !== wanted) throw new InvalidManifest(`must be ${wanted}`, ["kind"]);
  return metadata;
}

const HeartbeatDocument = v.object(
  {
    state: v.nullish(v.picklist(NODE_STATES, `unknown state; there are ${NODE_STATES.join(", ")}`)),
    network: v.nullish(
      v.object(
        {
          ip: v.optional(text),
          dnsName: v.optional(text),
          mode: v.optional(text),
          agentPort: v.optional(v.number("must be a number")),
          throughput: v.optional(v.union([v.string(), v.number()])),
        },
        "must be a map",
      ),
    ),
    capacity: stringMap,
    allocatable: stringMap,
    info: stringMap,
  },
  expected("a map"),
);
export type HeartbeatDocument = v.InferOutput<typeof HeartbeatDocument>;
export const parseHeartbeat = (raw: unknown): HeartbeatDocument => parse(HeartbeatDocument, raw);

const StatusReport = v.object(
  {
    phase: v.picklist(PHASES, ({ input }) =>
      input === undefined
        ? "is required"
        : `unknown phase ${JSON.stringify(input)}; there are ${PHASES.join(", ")}`,
    ),
    reason: v.nullish(text, ""),
    message: v.nullish(text, ""),
  },
  expected("a map"),
);
export type StatusReport = v.InferOutput<typeof StatusReport>;
export const parseReport = (raw: unknown): StatusReport => parse(StatusReport, raw);

function parse<const S extends v.GenericSchema>(schema: S, raw: unknown): v.InferOutput<S> {
  const result = v.safeParse(schema, raw);
  if (result.success) return result.output;
  const [{ message, path }] = result.issues;
  const keys = (path ?? []).map(({ key }) => (typeof key === "number" ? key : String(key)));
  throw new InvalidManifest(message, keys);
}

/** Removes undefined fields, so that the value can be compared with the stored one. */
function dense<T extends object>(value: T): T {
  return JSON.parse(JSON.stringify(value)) as T;
}
