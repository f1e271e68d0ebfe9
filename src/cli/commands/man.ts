// `man`: prints the manual page.
import { buildDate, version } from "../../platform/build.ts";
import { command } from "../command.ts";
import { root } from "../commands.ts";
import { outlineOf } from "../outline.ts";
import { renderManual } from "../ui/manual.ts";
import { print } from "../ui/output.ts";

/** Returns the manual page in roff. */
export const manualPage = async (): Promise<string> =>
  renderManual(await outlineOf(root), { version, date: buildDate.slice(0, 10) });

export default command({
  name: "man",
  description: "print the manual page; install puts it in place",
  examples: ["man | man -l -"],
  async run() {
    print((await manualPage()).trimEnd());
  },
});
