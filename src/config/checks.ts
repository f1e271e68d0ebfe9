// Checks values of single settings beyond their type. Each returns what is wrong, worded to follow the quoted
// value.
import { isIP } from "node:net";
import {
  DOCKER_ADDRESS_FORMS,
  LISTEN_ADDRESS_FORMS,
  networkProblem,
  parseDockerAddress,
  parseListenAddress,
} from "../lib/address.ts";

export const leadingSlash = (value: string): string | undefined =>
  value.startsWith("/") ? undefined : `must begin with a slash (/${value})`;

export const trailingSlash = (value: string): string => (value.endsWith("/") ? value : `${value}/`);

export const ipAddress = (value: string): string | undefined =>
  isIP(value) === 0 ? "is not an IP address (10.0.0.5, 2001:db8::5)" : undefined;

export const dockerAddress = (value: string): string | undefined =>
  parseDockerAddress(value, false) === undefined
    ? `is no address of a Docker Engine (${DOCKER_ADDRESS_FORMS})`
    : undefined;

/** Empty: it listens nowhere. */
export const listenAddress = (value: string): string | undefined =>
  value === "" || parseListenAddress(value) !== undefined
    ? undefined
    : `is not a listen address (${LISTEN_ADDRESS_FORMS})`;

/** "10.0.0.0/8" and single addresses. */
export const networks = (values: readonly string[]): string | undefined => {
  const problem = values.map(networkProblem).find((found) => found !== undefined);
  return problem === undefined ? undefined : `is not a list of networks (10.0.0.0/8,fd00::/8): ${problem}`;
};

/** Shorter tokens can be guessed. */
export const tokenLength = (value: string): string | undefined =>
  value.length < 16 ? "is too short for a token (16 characters at least)" : undefined;
