// Tells whether a package manager of this machine owns the installed executable.
import { places } from "./places.ts";
import { runProgram } from "./service.ts";

export interface PackageOwner {
  readonly manager: "dpkg" | "rpm";
  /** What to type to remove the package. */
  readonly removal: string;
}

/** Returns the owner of the installed executable; undefined when no package manager knows it. Takes some 10 ms. */
export function packageOwner(): PackageOwner | undefined {
  if (runProgram(["dpkg-query", "--search", places.program]).code === 0)
    return { manager: "dpkg", removal: "apt remove noderax-agent" };
  if (runProgram(["rpm", "--query", "--file", places.program]).code === 0)
    return { manager: "rpm", removal: "dnf remove noderax-agent" };
  return undefined;
}
