// Finds the issuer of an untrusted certificate, for the message about it.
import { connect } from "node:tls";
import { portOfUrl, unbracketed } from "../lib/address.ts";
import { AgentError, hasCode } from "../lib/agent-error.ts";
import { type Duration, seconds } from "../lib/duration.ts";

/** Adds the issuer to the hints of a `tls.untrusted` error; every other error is returned as it is. */
export async function explainTls(error: unknown, url: string): Promise<unknown> {
  if (!hasCode(error, "tls.untrusted")) return error;
  const issuer = await issuerOf(new URL(url), seconds(5));
  if (issuer === undefined) return error;
  const hint = [`The server's certificate was issued by "${issuer}".`, ...error.hint];
  return new AgentError(error.code, error.message, { hint, exit: error.exit, cause: error.cause });
}

/**
 * Connects, reads the certificate and closes; sends nothing. Undefined when that fails or takes longer than
 * `limit`.
 */
function issuerOf(url: URL, limit: Duration): Promise<string | undefined> {
  return new Promise((resolve) => {
    const host = unbracketed(url.hostname);
    const socket = connect({
      host,
      port: portOfUrl(url),
      rejectUnauthorized: false,
      servername: /^[\d.:]+$/.test(host) ? "" : host,
    });
    const done = (issuer: string | undefined): void => {
      clearTimeout(timer);
      socket.destroy();
      resolve(issuer);
    };
    const timer = setTimeout(() => done(undefined), limit);
    socket.once("secureConnect", () => {
      const { issuer } = socket.getPeerCertificate();
      const name = issuer?.CN ?? issuer?.O;
      done(Array.isArray(name) ? name[0] : name);
    });
    socket.once("error", () => done(undefined));
  });
}
