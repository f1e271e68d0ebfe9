// Images: whether one is here, is being pulled, or cannot be had, and whether it must be pulled at all. Pure.
import { type Duration, minutes } from "../../lib/duration.ts";

export type PullPolicy = "if-not-present" | "always";

export type PullState =
  | { readonly state: "pulling"; readonly progress: string }
  | { readonly state: "pulled"; readonly at: number }
  /** `lasting`: asking again will not help (no such image, not allowed), as far as the registry's answer tells. */
  | {
      readonly state: "failed";
      readonly message: string;
      readonly attempts: number;
      readonly retryAt: number;
      readonly lasting: boolean;
    };

export interface Images {
  /** Full references, as `fullReference` writes them. */
  readonly present: ReadonlySet<string>;
  readonly pulls: ReadonlyMap<string, PullState>;
}

/** A reference as the engine means it: "nginx" is "docker.io/library/nginx:latest". */
export function fullReference(image: string): string {
  const [name, digest] = splitOnce(image, "@");
  const slash = name.indexOf("/");
  const first = slash < 0 ? "" : name.slice(0, slash);
  const isHost = first === "localhost" || /[.:]/.test(first) || first !== first.toLowerCase();
  const [host, path] = isHost ? [first, name.slice(slash + 1)] : ["docker.io", name];
  const full = host === "docker.io" && !path.includes("/") ? `library/${path}` : path;
  if (digest !== undefined) return `${host}/${full.replace(/:[^/:]*$/, "")}@${digest}`;
  return `${host}/${full}${/:[^/]*$/.test(full) ? "" : ":latest"}`;
}

function splitOnce(text: string, mark: string): [string, string | undefined] {
  const at = text.indexOf(mark);
  return at < 0 ? [text, undefined] : [text.slice(0, at), text.slice(at + mark.length)];
}

/** What ":latest" names may change any day, everything else is taken to stay. */
export const policyOf = (image: string, configured: PullPolicy | undefined): PullPolicy =>
  configured ?? (fullReference(image).endsWith(":latest") ? "always" : "if-not-present");

/** A pull that is younger is not repeated: of ten containers of one image one asks the registry. */
const FRESH: Duration = minutes(1);

export type ImageDecision =
  | { readonly image: "ready" }
  | { readonly image: "pull" }
  /** `failed`: a pull has failed, and is tried again at `until`. */
  | { readonly image: "wait"; readonly note: string; readonly failed: boolean; readonly until?: number }
  | { readonly image: "failed"; readonly message: string; readonly until: number };

/** How often a pull that may yet succeed is tried before the project is called failed. */
const PATIENCE = 3;

/** What stands between now and a container made of `image`. An image that is here is used when the registry is away. */
export function decideImage(
  image: string,
  { present, pulls }: Images,
  policy: PullPolicy,
  now: number,
): ImageDecision {
  const reference = fullReference(image);
  const pull = pulls.get(reference);
  const here = present.has(reference);
  if (here && policy === "if-not-present") return { image: "ready" };
  if (pull?.state === "pulling")
    return { image: "wait", note: `pulling ${image}: ${pull.progress}`, failed: false };
  if (here && pull?.state === "failed") return { image: "ready" };
  if (here && pull?.state === "pulled" && now - pull.at < FRESH) return { image: "ready" };
  if (pull?.state !== "failed" || now >= pull.retryAt) return { image: "pull" };
  const message = `${image}: ${pull.message}`;
  return pull.lasting || pull.attempts >= PATIENCE
    ? { image: "failed", message, until: pull.retryAt }
    : {
        image: "wait",
        note: `pull failed (${message})`,
        // Where Docker itself went away, nothing is known of the image.
        failed: pull.attempts > 0,
        until: pull.retryAt,
      };
}
