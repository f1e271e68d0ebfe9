// What all parts of a release share.
import type { Target } from "../targets.ts";

/** Packages exist for glibc alone. */
export type Cpu = "x64" | "arm64";

export interface Release {
  readonly version: string;
  /** As the executable names it; with "+dirty" for what is in no commit. */
  readonly commit: string;
  /** Where the finished files go. */
  readonly directory: string;
  /** The URL of the directory that has one directory for each version. Without one the files name each other relatively. */
  readonly place: string;
  /** The time of all files in it, in seconds since 1970: that of the commit. */
  readonly seconds: number;
}

/** What install.sh and updates look for. */
export const artefactName = ({ version }: Pick<Release, "version">, target: Target): string =>
  `noderax-agent-${version}-${target}`;

export const publishedAt = ({ seconds }: Release): string => new Date(seconds * 1_000).toISOString();

/** Packages sort 1.0.0~rc.1 before 1.0.0, as versions mean it with a dash. Names of files keep the dash. */
export const packageVersion = ({ version }: Release): string => version.replace("-", "~");

/** Throws when the commit is tagged as versions, `v1.2.3` or `agent-v1.2.3`, and none of them is this one. */
export function checkTags(version: string, tags: readonly string[]): void {
  const versions = tags.filter((tag) => /^(\w+-)?v\d/.test(tag));
  if (versions.length > 0 && !versions.some((tag) => tag.replace(/^(\w+-)?v/, "") === version))
    throw new Error(`package.json has version ${version}, but the commit is tagged ${versions.join(", ")}`);
}
