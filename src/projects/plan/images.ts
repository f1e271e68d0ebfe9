// Decides whether an image must be pulled, is ready, or cannot be pulled. Pure.
import type { SteadyTime } from "../../lib/clock.ts";
import { type Duration, minutes } from "../../lib/duration.ts";

export type PullPolicy = "if-not-present" | "always";

export type PullState =
  | { readonly state: "pulling"; readonly progress: string }
  | { readonly state: "pulled"; readonly at: SteadyTime }
  /** `lasting`: the registry's answer will not change by itself (no such image, not allowed). */
  | {
      readonly state: "failed";
      readonly message: string;
      readonly attempts: number;
      readonly retryAt: SteadyTime;
      readonly lasting: boolean;
    };

export interface Images {
  /** Full references, as `fullReference` makes them. */
  readonly present: ReadonlySet<string>;
  readonly pulls: ReadonlyMap<string, PullState>;
}

/** The full form of a reference: "docker.io/library/nginx:latest" for "nginx". */
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

/** Default: "always" for the tag "latest", which may change any day, "if-not-present" for all others. */
export const policyOf = (image: string, configured: PullPolicy | undefined): PullPolicy =>
  configured ?? (fullReference(image).endsWith(":latest") ? "always" : "if-not-present");

/** A younger pull is not repeated: ten containers of one image ask the registry once. */
const FRESH: Duration = minutes(1);

export type ImageDecision =
  | { readonly image: "ready" }
  | { readonly image: "pull" }
  /** `isFailure`: a pull failed, and is tried again at `until`. */
  | {
      readonly image: "wait";
      readonly note: string;
      readonly isFailure: boolean;
      readonly until?: SteadyTime;
    }
  | { readonly image: "failed"; readonly message: string; readonly until: SteadyTime };

/** The project is reported as failed after so many failures of a pull that is not `lasting`. */
const ATTEMPTS_BEFORE_FAILED = 3;

/** What to do before a container of `image` can be created. A present image is used when its pull fails. */
export function decideImage(
  image: string,
  { present, pulls }: Images,
  policy: PullPolicy,
  now: SteadyTime,
): ImageDecision {
  const reference = fullReference(image);
  const pull = pulls.get(reference);
  const isPresent = present.has(reference);
  if (isPresent && policy === "if-not-present") return { image: "ready" };
  if (pull?.state === "pulling")
    return { image: "wait", note: `pulling ${image}: ${pull.progress}`, isFailure: false };
  if (isPresent && pull?.state === "failed") return { image: "ready" };
  if (isPresent && pull?.state === "pulled" && now - pull.at < FRESH) return { image: "ready" };
  if (pull?.state !== "failed" || now >= pull.retryAt) return { image: "pull" };
  const message = `${image}: ${pull.message}`;
  return pull.lasting || pull.attempts >= ATTEMPTS_BEFORE_FAILED
    ? { image: "failed", message, until: pull.retryAt }
    : {
        image: "wait",
        note: `pull failed (${message})`,
        // No attempts: Docker became unreachable, and nothing is known about the image.
        isFailure: pull.attempts > 0,
        until: pull.retryAt,
      };
}
