// How long a list of 5,000 packages takes from the question to the body of its completion, with the real dpkg-query.
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { apt } from "../../src/packages/apt.ts";
import { listInstalled } from "../../src/packages/inquire.ts";
import { temporaryDirectory } from "../support/binary.ts";
import type { Bench } from "./bench.ts";

const PACKAGES = 5_000;

const list: Bench = {
  name: "list of 5,000 packages, dpkg-query included",
  unit: "ms",
  limit: 300,
  async run() {
    using directory = temporaryDirectory();
    const database = join(directory.path, "dpkg");
    mkdirSync(join(database, "info"), { recursive: true });
    writeFileSync(join(database, "status"), Array.from({ length: PACKAGES }, (_, n) => entry(n)).join("\n"));
    const [program = "", ...words] = apt.list.argv;
    const manager = { ...apt, list: { ...apt.list, argv: [program, `--admindir=${database}`, ...words] } };
    const samples: number[] = [];
    for (let repetition = -1; repetition < 15; repetition++) {
      const begun = performance.now();
      const packages = await listInstalled(manager);
      const body = JSON.stringify({ status: "success", result: { packages } });
      const took = performance.now() - begun;
      if (packages.length !== PACKAGES || body.length < 500_000) throw new Error("not the whole list");
      if (repetition >= 0) samples.push(took);
    }
    return samples;
  },
};

const entry = (n: number): string =>
  [
    `Package: a-package-with-a-usual-name-${n}`,
    "Status: install ok installed",
    "Priority: optional",
    "Section: libs",
    "Installed-Size: 1234",
    "Maintainer: Somebody <somebody@example.com>",
    "Architecture: amd64",
    `Version: 1.2.${n}-3+deb12u1`,
    "Depends: libc6 (>= 2.34)",
    `Description: what a package of this kind does, in about as many words (${n})`,
    " And more about it, on lines that are not part of the list.",
    "",
  ].join("\n");

export default list;
