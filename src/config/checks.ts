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

export const hostAndPort = (value: string): string | undefined => {
  const port = Number(/^.*:(\d{1,5})$/.exec(value)?.[1] ?? Number.NaN);
  return port <= 65_535 ? undefined : "is not a listen address (:8081, 127.0.0.1:8081)";
};
