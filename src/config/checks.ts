// What single settings demand beyond their type; each returns what is wrong, worded to follow the quoted value.
import { isIP } from "node:net";

export const leadingSlash = (value: string): string | undefined =>
  value.startsWith("/") ? undefined : `must begin with a slash (/${value})`;

export const trailingSlash = (value: string): string => (value.endsWith("/") ? value : `${value}/`);

export const ipAddress = (value: string): string | undefined =>
  isIP(value) === 0 ? "is not an IP address (10.0.0.5, 2001:db8::5)" : undefined;

export const schemeRequired = (value: string): string | undefined =>
  /^[a-z]+:\/\/./i.test(value)
    ? undefined
    : "is not an address (unix:///var/run/docker.sock, tcp://host:2375)";

/** Empty: it listens nowhere. */
export const hostAndPort = (value: string): string | undefined => {
  if (value === "") return undefined;
  const port = Number(/^.*:(\d{1,5})$/.exec(value)?.[1] ?? Number.NaN);
  return port <= 65_535 ? undefined : "is not a listen address (:8081, 127.0.0.1:8081)";
};

/** "10.0.0.0/8" and single addresses. */
export const networks = (values: readonly string[]): string | undefined => {
  const wrong = values.find((value) => !isNetwork(value));
  return wrong === undefined ? undefined : `is not a list of networks (10.0.0.0/8,fd00::/8): ${wrong}`;
};

function isNetwork(value: string): boolean {
  const [address = "", bits, ...rest] = value.split("/");
  const family = isIP(address);
  if (family === 0 || rest.length > 0) return false;
  return bits === undefined || (/^\d{1,3}$/.test(bits) && Number(bits) <= (family === 4 ? 32 : 128));
}

export const everyone = (values: readonly string[]): string | undefined =>
  values.some((value) => value.endsWith("/0"))
    ? "lets everyone who reaches this machine into every container, without a token"
    : undefined;

/** Shorter ones can be guessed. */
export const tokenLength = (value: string): string | undefined =>
  value.length < 16 ? "is too short for a token (16 characters at least)" : undefined;
