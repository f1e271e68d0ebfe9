// Writes the proxy of the installer's environment for the service, which inherits nothing of that environment.

const NAMES = ["HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY"];

/**
 * Returns lines that systemd (EnvironmentFile=) and a shell read alike; undefined when no proxy is set. The lower-case name
 * wins, as in Bun's fetch. Characters with a meaning to either reader are percent-encoded, as a URL requires anyway.
 */
export function proxyEnvironment(env: Readonly<Record<string, string | undefined>>): string | undefined {
  const lines = NAMES.flatMap((name) => {
    const value = env[name.toLowerCase()] || env[name];
    return value
      ? [`${name}='${value.replaceAll(/[\p{Cc}'\\]/gu, encodeURIComponent).replaceAll("'", "%27")}'\n`]
      : [];
  });
  const isProxied = lines.some((line) => !line.startsWith("NO_PROXY="));
  return isProxied ? lines.join("") : undefined;
}
