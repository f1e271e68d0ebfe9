// `config`: shows and changes settings, and lists the files they come from.
import { command } from "../command.ts";
import init from "./config/init.ts";
import path from "./config/path.ts";
import set from "./config/set.ts";
import show from "./config/show.ts";

export default command({
  name: "config",
  description: "show and change the configuration",
  examples: ["config show --sources", "config set log_level debug", "config path"],
  subCommands: { show, set, path, init },
});
