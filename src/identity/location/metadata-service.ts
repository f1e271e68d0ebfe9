// Sends requests to the link-local address at which clouds serve the metadata of a machine.
import { request } from "node:http";
import { seconds } from "../../lib/duration.ts";
import { KIB } from "../../lib/size.ts";
import type { AskMetadata } from "./cloud.ts";

const ADDRESS = "169.254.169.254";
const TIMEOUT = seconds(2);
const ANSWER_MAX = 64 * KIB;

/**
 * Asks the metadata service, each request for at most 2 s. By `node:http`, which uses no proxy from the environment: a
 * proxy would answer for itself.
 */
export const metadataService =
  (signal: AbortSignal): AskMetadata =>
  ({ method, path, headers }) =>
    new Promise((resolve) => {
      const call = request({ host: ADDRESS, method, path, headers, agent: false, signal }, (response) => {
        const chunks: Buffer[] = [];
        let size = 0;
        response.on("data", (chunk: Buffer) => {
          size += chunk.length;
          if (size > ANSWER_MAX) call.destroy();
          else chunks.push(chunk);
        });
        response.on("end", () =>
          resolve(response.statusCode === 200 ? Buffer.concat(chunks).toString() : undefined),
        );
        response.on("error", () => resolve(undefined));
      });
      // One limit for the whole exchange, also for an answer of a byte a second.
      const limit = setTimeout(() => call.destroy(), TIMEOUT);
      call.on("error", () => resolve(undefined));
      call.on("close", () => {
        clearTimeout(limit);
        resolve(undefined);
      });
      call.end();
    });
