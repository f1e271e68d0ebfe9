// Reads the status lines of apt and dpkg (APT::Status-Fd) into progress for the log. Pure.
//
//   dlstatus:2:49.5012:Retrieving file 2 of 2
//   pmstatus:nxhello:33.3333:Unpacking nxhello (amd64)
//   pmerror:nxfail:60.0000:installed nxfail package post-installation script subprocess returned error exit status 3
//   pmconffile:/etc/nxhello.conf:40.0000:'/etc/nxhello.conf' '/etc/nxhello.conf.dpkg-new' 1 1
import { flatText } from "./adapter.ts";

export interface StatusLine {
  readonly kind: "download" | "work" | "error" | "conffile";
  /** The package, or the configuration file. */
  readonly subject: string;
  readonly percent: number;
  readonly text: string;
}

const KINDS: Readonly<Record<string, StatusLine["kind"]>> = {
  dlstatus: "download",
  pmstatus: "work",
  pmerror: "error",
  pmconffile: "conffile",
};

/** Undefined for any other line. A package's name may have an architecture behind a colon, a text any number of them. */
export function parseStatusLine(line: string): StatusLine | undefined {
  const [, word = "", subject = "", percent = "", text = ""] =
    /^(\w+):(.*?):(\d+(?:\.\d+)?):(.*)$/.exec(line) ?? [];
  const kind = KINDS[word];
  return kind && { kind, subject, percent: Number(percent), text: flatText(text) };
}

/** The line of the log about `now`; undefined when it says nothing beyond the line before. */
export function statusText(before: StatusLine | undefined, now: StatusLine): string | undefined {
  const head = `[${String(Math.round(now.percent)).padStart(3)} %]`;
  if (now.kind === "error") return `${head} ${now.subject}: ${now.text}`;
  if (now.kind === "conffile") return `${head} ${now.subject}: changed on this machine, kept`;
  if (before?.kind === now.kind && before.text === now.text) return undefined;
  // One line for every tenth of a download: it may have thousands of files.
  const tenth = (line: StatusLine): number => Math.floor(line.percent / 10);
  if (now.kind === "download" && before?.kind === "download" && tenth(before) === tenth(now))
    return undefined;
  return `${head} ${now.text}`;
}
