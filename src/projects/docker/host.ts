// Where the Docker Engine is: `docker_host`, and TLS as Docker's own clients are told of it.
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { AgentError, messageOf } from "../../lib/agent-error.ts";
import { requireTrusted } from "../../platform/trust/root-trust.ts";

/** What Docker's clients read from the environment besides DOCKER_HOST. */
export interface DockerEnvironment {
  readonly DOCKER_TLS_VERIFY?: string | undefined;
  readonly DOCKER_CERT_PATH?: string | undefined;
}

export type DockerAddress =
  | { readonly socketPath: string }
  | { readonly protocol: "http" | "https"; readonly host: string; readonly port: number };

export interface TlsFiles {
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
}

/** Throws `docker.away` for what is no address of a Docker Engine. */
export function parseDockerHost(text: string, tls: boolean): DockerAddress {
  const socketPath = socketPathOf(text);
  if (socketPath !== undefined) return { socketPath };
  // Of `tcp://` a URL knows neither default port nor how to lower-case the host.
  const match = /^(tcp|http|https):\/\//.exec(text);
  const url = match === null ? undefined : parseUrl(`http://${text.slice(match[0].length)}`);
  if (match === null || url === undefined || url.username !== "" || url.pathname !== "/") {
    throw new AgentError("docker.away", `docker_host: "${text}" is no address of a Docker Engine`, {
      hint: "Write unix:///var/run/docker.sock or tcp://host:2375.",
    });
  }
  const secure = tls || match[1] === "https";
  return {
    protocol: secure ? "https" : "http",
    host: url.hostname.replace(/^\[(.*)\]$/, "$1"),
    port: Number(url.port) || (/:80\/?$/.test(text) ? 80 : secure ? 2376 : 2375),
  };
}

/** "unix:///run/docker.sock" is "/run/docker.sock"; undefined for other addresses. */
export const socketPathOf = (text: string): string | undefined => /^unix:\/\/(\/.*)$/s.exec(text)?.[1];

/** Whether the containers and files of that Docker are this machine's. */
export function isOnThisMachine(host: string): boolean {
  if (host.startsWith("unix://")) return true;
  const name = parseUrl(host.replace(/^\w+:/, "http:"))?.hostname ?? "";
  return name === "localhost" || name === "[::1]" || /^127(?:\.\d+){3}$/.test(name);
}

function parseUrl(text: string): URL | undefined {
  try {
    return new URL(text);
  } catch {
    return undefined;
  }
}

/**
 * The directory with ca.pem, cert.pem and key.pem, if TLS is asked for. The server's certificate is always verified,
 * also where Docker's libraries would not: with DOCKER_CERT_PATH and without DOCKER_TLS_VERIFY.
 */
export function certificatesAt(environment: DockerEnvironment, home: string): string | undefined {
  const { DOCKER_CERT_PATH: path = "", DOCKER_TLS_VERIFY: verify = "" } = environment;
  if (path !== "") return path;
  return verify === "" ? undefined : join(home, ".docker");
}

/** Throws `docker.away` when one of the files cannot be read. */
export async function readCertificates(directory: string): Promise<TlsFiles> {
  const read = async (name: string): Promise<string> => {
    const path = join(directory, name);
    try {
      requireTrusted(path, "DOCKER_CERT_PATH");
      return await readFile(path, "utf8");
    } catch (error) {
      throw new AgentError("docker.away", `the certificate ${path} cannot be read: ${messageOf(error)}`, {
        hint: "Check DOCKER_CERT_PATH.",
        cause: error,
      });
    }
  };
  const [ca, cert, key] = await Promise.all([read("ca.pem"), read("cert.pem"), read("key.pem")]);
  return { ca, cert, key };
}
