// The database of rpm, which dnf and zypper share. Pure.
import { type InstalledPackage, type PackageQuery, FIELD, RECORD, flatText, recordsOf } from "./adapter.ts";

const TAGS = ["NAME", "EPOCH", "VERSION", "RELEASE", "ARCH", "SUMMARY"];
const FORMAT = TAGS.map((tag) => `%{${tag}}`).join(FIELD) + RECORD;

export const rpmList: PackageQuery<InstalledPackage[]> = {
  argv: ["rpm", "-qa", "--qf", FORMAT],
  parse: (text) =>
    recordsOf(text).flatMap(
      ([name = "", epoch = "", version = "", release = "", arch = "", summary = ""]) => {
        // The keys that packages are signed with are stored as packages.
        if (name === "" || name === "gpg-pubkey") return [];
        const shown = epoch === "(none)" || epoch === "0" ? "" : `${epoch}:`;
        return [
          {
            name,
            version: `${shown}${version}-${release}`,
            architecture: arch === "(none)" ? "" : arch,
            description: flatText(summary),
            status: "installed" as const,
          },
        ];
      },
    ),
};
