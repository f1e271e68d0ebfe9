// Describes the source of a value, for `config show --sources` and for messages about wrong values.

export type SettingOrigin =
  | { readonly from: "default" }
  | { readonly from: "file"; readonly path: string; readonly line: number }
  | { readonly from: "dotenv"; readonly path: string; readonly line: number; readonly name: string }
  | { readonly from: "environment"; readonly name: string }
  | { readonly from: "flag"; readonly name: string };

/** "default", "/etc/noderax-agent/config.json:4", "environment DOCKER_HOST", "flag --log-level". */
export function describeOrigin(origin: SettingOrigin): string {
  switch (origin.from) {
    case "default":
      return "default";
    case "file":
      return `${origin.path}:${origin.line}`;
    case "dotenv":
      return `${origin.path}:${origin.line} ${origin.name}`;
    case "environment":
      return `environment ${origin.name}`;
    case "flag":
      return `flag --${origin.name}`;
    default:
      return origin satisfies never;
  }
}
