// Every code of an AgentError, in one table: part of the program or of the world, then what failed.

interface Codes {
  account: "no_means";
  /** The agent of this machine or of another node, asked by a command. */
  agent:
    | "forbidden"
    | "hangs"
    | "lost"
    | "no_log"
    | "not_running"
    | "refused"
    | "running"
    | "several"
    | "silent"
    | "unknown";
  announce: "place";
  cli: "token_file" | "usage";
  config:
    | "ca_file"
    | "exists"
    | "file"
    | "invalid"
    | "missing"
    | "no_plane"
    | "node_name"
    | "permission"
    | "place"
    | "syntax"
    | "task_user"
    | "unknown"
    | "write";
  dev: "offline";
  /** away: unreachable or broken; gone: the object is not there; refused: the daemon said no; full: its disk is. */
  docker: "away" | "forbidden" | "full" | "gone" | "refused" | "version";
  enroll:
    | "email"
    | "expired"
    | "hostname"
    | "hostname_exists"
    | "identity_outside"
    | "identity_refused"
    | "not_saved"
    | "revoked"
    | "superseded"
    | "throttled"
    | "token"
    | "unknown_token"
    | "used_token";
  forward: "listen";
  gc: "no_plane";
  /** status: refused by the server, with `status`; answer, foreign, redirect: something else answered than the server. */
  go: "helper";
  http: "answer" | "foreign" | "redirect" | "status";
  identity: "unreadable";
  install: "none" | "packaged" | "place" | "root" | "source" | "unhealthy" | "user" | "waiting";
  listen: "address" | "failed" | "forbidden" | "taken" | "tls";
  metrics: "refused";
  /** reset: the connection broke, and the request may have arrived; timeout: no answer in time. */
  net: "refused" | "reset" | "timeout" | "unresolved";
  node: "name";
  output: "closed" | "failed";
  packages: "failed" | "locked" | "names" | "none";
  pull: "failed" | "stalled" | "unauthorized" | "unknown";
  realtime: "answer" | "ended" | "lost" | "offline" | "proxy" | "timeout" | "too_large" | "url";
  sandbox:
    | "answer"
    | "blocked"
    | "file"
    | "listen"
    | "manifest"
    | "none"
    | "offline"
    | "refused"
    | "several"
    | "terminal"
    | "timeout"
    | "token"
    | "unknown"
    | "unreachable";
  /** Of logs that a control plane asks for. */
  scan: "absent" | "journal" | "preset" | "unreadable";
  service: "failed" | "no_manager" | "not_installed" | "other_file" | "state" | "waiting";
  state: "damaged" | "database" | "directory" | "exchanged" | "planted";
  tasks: "ambiguous" | "journal" | "no_output" | "refused" | "reopened" | "unknown";
  terminal: "pty" | "shell";
  tls: "expired" | "name" | "untrusted";
  trust: "links" | "refused" | "unclear";
  /** foreign: the place serves another program; patch, download: what came is not what is listed. */
  update:
    | "busy"
    | "download"
    | "failed"
    | "foreign"
    | "forbidden"
    | "none"
    | "patch"
    | "place"
    | "probe"
    | "service"
    | "signature"
    | "space"
    | "version";
  version: "licenses";
}

/** The codes of one part: `ErrorCodeOf<"net">` is "net.refused" | "net.reset" | …. */
export type ErrorCodeOf<Part extends keyof Codes> = { [P in Part]: `${P}.${Codes[P]}` }[Part];
/** "aborted": we gave up ourselves, because a signal or a person asked for it. */
export type ErrorCode = "aborted" | ErrorCodeOf<keyof Codes>;
