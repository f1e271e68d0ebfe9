// Schemas for the fields of the Docker Engine's answers that we read. Docker and Podman write null for empty fields.
import * as v from "valibot";
import { AgentError } from "../../lib/agent-error.ts";

const strings = v.nullish(v.array(v.string()), []);
const labels = v.nullish(v.record(v.string(), v.string()), {});
const text = v.nullish(v.string(), "");
const endpoint = v.object({ NetworkID: text, IPAddress: text, GlobalIPv6Address: v.nullish(v.string()) });

export const Version = v.object({
  Version: text,
  ApiVersion: v.string(),
  MinAPIVersion: text,
});

export const Info = v.object({ DockerRootDir: text });

export const ContainerList = v.array(
  v.object({
    Id: v.string(),
    Names: strings,
    Image: text,
    State: text,
    /** "Up 5 seconds", "Exited (1) 2 minutes ago" */
    Status: text,
    Labels: labels,
    NetworkSettings: v.nullish(
      v.object({
        Networks: v.nullish(v.record(v.string(), v.nullable(endpoint)), {}),
      }),
      { Networks: {} },
    ),
  }),
);
export type ListedContainer = v.InferOutput<typeof ContainerList>[number];

export const NetworkList = v.array(
  v.object({ Id: v.string(), Name: v.string(), Created: text, Labels: labels }),
);
export type ListedNetwork = v.InferOutput<typeof NetworkList>[number];

const volume = v.object({ Name: v.string(), Labels: labels });
export const CreatedVolume = volume;
export const VolumeList = v.object({ Volumes: v.nullish(v.array(volume), []) });
export type ListedVolume = v.InferOutput<typeof volume>;

export const ImageList = v.array(v.object({ RepoTags: strings, RepoDigests: strings }));
export type ListedImage = v.InferOutput<typeof ImageList>[number];

export const Created = v.object({ Id: v.string() });

export const Inspection = v.object({
  Config: v.object({ Image: text, Env: strings, Tty: v.nullish(v.boolean(), false) }),
  State: v.object({
    Running: v.nullish(v.boolean(), false),
    StartedAt: text,
    FinishedAt: text,
    ExitCode: v.nullish(v.number(), 0),
    OOMKilled: v.nullish(v.boolean(), false),
    Error: text,
  }),
  Mounts: v.nullish(v.array(v.object({ Type: text, Name: text, Source: text, Destination: text })), []),
  HostConfig: v.nullish(
    v.object({
      LogConfig: v.nullish(v.object({ Type: text, Config: labels }), { Type: "", Config: {} }),
      RestartPolicy: v.nullish(v.object({ Name: text }), { Name: "" }),
    }),
    { LogConfig: { Type: "", Config: {} }, RestartPolicy: { Name: "" } },
  ),
  NetworkSettings: v.nullish(v.object({ Networks: v.nullish(v.record(v.string(), v.unknown()), {}) }), {
    Networks: {},
  }),
});
export type Inspected = v.InferOutput<typeof Inspection>;

export const EventLine = v.object({
  Type: text,
  Action: text,
  Actor: v.nullish(v.object({ ID: text, Attributes: labels }), { ID: "", Attributes: {} }),
});

/** Throws `docker.refused` for an answer of another shape: it is not from a Docker Engine. */
export function parseAnswer<S extends v.GenericSchema>(schema: S, answer: unknown): v.InferOutput<S> {
  const result = v.safeParse(schema, answer);
  if (result.success) return result.output;
  const [issue] = result.issues;
  const where = v.getDotPath(issue) ?? "it";
  throw new AgentError("docker.refused", `Docker's answer is not understood: ${where}: ${issue.message}`);
}
