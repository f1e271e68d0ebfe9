// Parses the address of the Docker Engine (`docker_host`) and reads its TLS files as Docker's own clients do.
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { type DockerAddress, parseDockerAddress } from "../../lib/address.ts";
import { AgentError, messageOf } from "../../lib/agent-error.ts";
import { requireTrusted } from "../../platform/trust/root-trust.ts";

/** The variables that Docker's clients read besides DOCKER_HOST. */
export interface DockerEnvironment {
  readonly DOCKER_TLS_VERIFY?: string | undefined;
  readonly DOCKER_CERT_PATH?: string | undefined;
}

export interface TlsFiles {
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
}

/** Parses `docker_host`. Throws `docker.away` for a text that is not an address of a Docker Engine. */
export function parseDockerHost(text: string, tls: boolean): DockerAddress {
  const address = parseDockerAddress(text, tls);
  if (address !== undefined) return address;
  throw new AgentError("docker.away", `docker_host: "${text}" is not an address of a Docker Engine`, {
    hint: "Write unix:///var/run/docker.sock or tcp://host:2375.",
  });
}

/**
 * The directory with ca.pem, cert.pem and key.pem; undefined when TLS is not requested. The certificate of the daemon is
 * always verified, also where Docker's libraries would not: with DOCKER_CERT_PATH and without DOCKER_TLS_VERIFY.
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
