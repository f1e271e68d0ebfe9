// Renders the README's table of settings from the table the program reads.
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { withConfigurationTable } from "../src/config/describe.ts";

const path = join(import.meta.dir, "../README.md");
writeFileSync(path, withConfigurationTable(readFileSync(path, "utf8")));
