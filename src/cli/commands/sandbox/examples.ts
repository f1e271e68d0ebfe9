// The projects of `sandbox apply --example`.

/** A public image that serves something without a command: a spec cannot give one. */
const DEFAULT_IMAGE = "nginx:alpine";

export const EXAMPLES = ["web"] as const;

/** Returns the example as a manifest. */
export function exampleProject(name: (typeof EXAMPLES)[number], image = DEFAULT_IMAGE): object {
  return {
    apiVersion: "caravanserai/v1",
    kind: "Project",
    metadata: { name: `example-${name}`, labels: { example: "true" } },
    spec: {
      services: [
        {
          name: "web",
          image,
          env: [{ name: "GREETING", value: "hello" }],
          volumeMounts: [{ name: "cache", mountPath: "/var/cache/example" }],
        },
      ],
      volumes: [{ name: "cache", type: "Ephemeral" }],
      ingress: [
        { name: "web", host: "web", target: { service: "web", port: 80 }, access: { scope: "Internal" } },
      ],
    },
  };
}
