// How operator commands find the sandboxes this user runs on this machine: their addresses and tokens.
import * as v from "valibot";
import { announce, announced } from "../platform/announce.ts";

const Announcement = v.object({
  url: v.string(),
  operator_token: v.string(),
  /** PEM, when it serves HTTPS. */
  certificate: v.optional(v.string()),
});

export interface AnnouncedSandbox {
  readonly url: string;
  readonly operatorToken: string;
  readonly certificate?: string | undefined;
}

/** Until disposed of, this user's commands find the sandbox. Throws AgentError. */
export const announceSandbox = (
  { url, operatorToken, certificate }: AnnouncedSandbox,
  temporary?: string,
): Disposable => announce("sandbox", { url, operator_token: operatorToken, certificate }, temporary);

/** The sandboxes this user runs. */
export const findSandboxes = (temporary?: string): (AnnouncedSandbox & { readonly pid: number })[] =>
  announced("sandbox", Announcement, temporary).map(({ pid, document }) => ({
    pid,
    url: document.url,
    operatorToken: document.operator_token,
    certificate: document.certificate,
  }));
