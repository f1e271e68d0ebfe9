// Chooses the package manager of this machine by what it is and has. Pure but for the ports.
import { apk } from "./apk.ts";
import { apt } from "./apt.ts";
import { dnf } from "./dnf.ts";
import type { PackageManager } from "./adapter.ts";
import { pacman } from "./pacman.ts";
import { zypper } from "./zypper.ts";

/** What a machine has. */
export interface MachineFacts {
  /** Whether a program is installed. */
  readonly has: (program: string) => boolean;
  readonly exists: (path: string) => boolean;
  /** /etc/os-release: ID, then the words of ID_LIKE. */
  readonly distribution: readonly string[];
}

export interface DetectedManager {
  /** Undefined on a machine without one. */
  readonly manager: PackageManager | undefined;
  /** Why packages are not changed here, with the way that is native to this system; undefined where they can be. */
  readonly immutable: string | undefined;
}

const FAMILIES: readonly {
  readonly name: string;
  readonly ids: readonly string[];
  readonly of: (m: MachineFacts) => PackageManager | undefined;
}[] = [
  {
    name: "apt",
    ids: ["debian", "ubuntu"],
    of: ({ has }) => (has("apt-get") && has("dpkg-query") ? apt : undefined),
  },
  {
    name: "zypper",
    ids: ["suse", "opensuse", "sles"],
    of: ({ has }) => (has("zypper") && has("rpm") ? zypper : undefined),
  },
  {
    name: "dnf",
    ids: ["fedora", "rhel", "centos", "amzn"],
    of({ has }) {
      const program = ["dnf5", "dnf"].find(has);
      return program !== undefined && has("rpm") ? dnf(program) : undefined;
    },
  },
  {
    name: "apk",
    ids: ["alpine"],
    of({ has, exists }) {
      const directory = ["/lib/apk/db", "/usr/lib/apk/db"].find((path) => exists(`${path}/installed`));
      return directory !== undefined && has("apk") ? apk(directory) : undefined;
    },
  },
  { name: "pacman", ids: ["arch"], of: ({ has }) => (has("pacman") ? pacman : undefined) },
];

/** The names of all managers, for messages. */
export const MANAGERS = FAMILIES.map(({ name }) => name).join(", ");

/**
 * Takes the manager of the distribution, else the first whose programs are here: the programs of another distribution may be
 * installed, as rpm is on Debian.
 */
export function detectManager(machine: MachineFacts): DetectedManager {
  const native = FAMILIES.filter(({ ids }) => ids.some((id) => machine.distribution.includes(id)));
  const managers = [...native, ...FAMILIES].map(({ of }) => of(machine));
  return { manager: managers.find((one) => one !== undefined), immutable: immutableOf(machine) };
}

function immutableOf({ has, exists, distribution }: MachineFacts): string | undefined {
  if (exists("/etc/NIXOS") || distribution[0] === "nixos")
    return "this is NixOS, whose packages are declared: add them to environment.systemPackages in /etc/nixos/configuration.nix and run nixos-rebuild switch";
  if (exists("/run/ostree-booted"))
    return "this system is an image (ostree): use rpm-ostree install NAME, or a container, and reboot";
  if (has("transactional-update") && distribution.some((id) => /microos|micro$|aeon|kalpa/.test(id)))
    return "this system is changed in snapshots only: use transactional-update pkg install NAME, and reboot";
  if (has("steamos-readonly")) return "this system is an image (SteamOS): use flatpak install NAME";
  if (["flatcar", "coreos", "bottlerocket", "talos"].includes(distribution[0] ?? ""))
    return "this system is an image without packages: run the software in a container";
  return undefined;
}

/** Returns ID and the words of ID_LIKE. */
export const distributionOf = (osRelease: ReadonlyMap<string, string>): string[] =>
  ["ID", "ID_LIKE"].flatMap((key) => (osRelease.get(key) ?? "").toLowerCase().split(/\s+/).filter(Boolean));
