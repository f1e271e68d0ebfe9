// What single settings demand beyond their type; each returns what is wrong, worded to follow the quoted value.
import { isIP } from "node:net";

export const leadingSlash = (value: string): string | undefined =>
  value.startsWith("/") ? undefined : `must begin with a slash (/${value})`;

export const trailingSlash = (value: string): string => (value.endsWith("/") ? value : `${value}/`);

export const ipAddress = (value: string): string | undefined =>
  isIP(value) === 0 ? "is not an IP address (10.0.0.5, 2001:db8::5)" : undefined;

export const dockerAddress = (value: string): string | undefined =>
  /^unix:\/\/\/./.test(value) || (/^(tcp|http|https):\/\/[^/@?#\s]+\/?$/.test(value) && isUrl(value))
    ? undefined
    : "is no address of a Docker Engine (unix:///var/run/docker.sock, tcp://host:2375, http://…, https://…)";

/** Of `tcp://` a URL knows no port. */
const isUrl = (value: string): boolean => URL.canParse(value.replace(/^tcp:/, "http:"));

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

/** Shorter ones can be guessed. */
export const tokenLength = (value: string): string | undefined =>
  value.length < 16 ? "is too short for a token (16 characters at least)" : undefined;
