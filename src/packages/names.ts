// Checks the package names of a request before any of them reaches a command line. Pure.
//
// A name must mean one package to every manager. `foo-` removes foo for apt, `-x` is a flag, `!foo` a conflict for apk,
// `foo*` and `@foo` are many packages, `./foo.deb`, `foo.rpm` and `repo/foo` are files or other sources.

/** What the control plane's own form accepts (contract 3.3). */
const NAME_MAX = 255;
/** More than a person chooses; 1,000 names fit with room to spare. */
export const NAMES_MAX = 2_000;

const NAME = /^[A-Za-z0-9][A-Za-z0-9+._-]*$/;
const ARCHITECTURE = /^[a-z0-9][a-z0-9-]*$/;
const VERSION = /^[A-Za-z0-9][A-Za-z0-9.+:~^_-]*$/;

/** Returns why `text` is no package name, as the rest of a sentence about it; undefined when it is one. */
export function problemOfName(text: string, mayPin: boolean): string | undefined {
  if (text === "") return "is empty";
  if (text.length > NAME_MAX) return `is longer than ${NAME_MAX} characters`;
  const [whole = "", version, ...others] = text.split("=");
  const [name = "", architecture, ...more] = whole.split(":");
  if (name.startsWith("-")) return "begins with a dash, which makes it a flag";
  if (!NAME.test(name)) return "has characters that no package name has";
  if (name.endsWith("-")) return "ends with a dash, which tells apt to remove the package";
  if (/\.(deb|rpm|apk)$/.test(name)) return "is the name of a file";
  if (more.length > 0 || (architecture !== undefined && !ARCHITECTURE.test(architecture)))
    return "has no valid architecture after the colon";
  if (version === undefined) return undefined;
  if (!mayPin) return "names a version, which only an installation may";
  return others.length === 0 && VERSION.test(version) ? undefined : "has no valid version after the =";
}

/** "nginx:amd64=1.2" is the package "nginx". */
export const bareName = (name: string): string => name.replace(/[:=].*$/s, "");

/** Returns the words of a search, at most ten; throws nothing: any text is a search. Control characters part words. */
export const searchWords = (text: string): string[] =>
  text
    .split(/[\s\p{Cc}]+/u)
    .filter((word) => word !== "")
    .slice(0, 10);
