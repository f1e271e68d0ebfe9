// How fast the executable starts, and how big it is.
import { statSync } from "node:fs";
import { binary, runBinary } from "../support/binary.ts";
import type { Bench } from "./bench.ts";

export default [
  {
    name: "noderax-agent --version",
    unit: "ms",
    limit: 30,
    async run() {
      const samples: number[] = [];
      // The first start reads the file into the page cache and is not counted.
      for (let repetition = -1; repetition < 20; repetition++) {
        const started = performance.now();
        const { code, stderr } = await runBinary(["--version"]);
        const took = performance.now() - started;
        if (code !== 0) throw new Error(`--version exited with ${code}: ${stderr}`);
        if (repetition >= 0) samples.push(took);
      }
      return samples;
    },
  },
  { name: "size of the executable", unit: "MB", run: () => Promise.resolve([statSync(binary).size / 1e6]) },
] satisfies Bench[];
