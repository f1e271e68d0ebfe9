// The Debian package.
import { mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import type { PackageFile } from "./files.ts";
import { type Cpu, type Release, packageVersion } from "./release.ts";
import { run } from "./run.ts";
import { afterInstall, afterRemove, afterUpgrade, beforeRemove, purge } from "./scripts.ts";
import { layOut } from "./tree.ts";

/** Builds it with dpkg-deb, and returns its name. */
export function buildDeb(release: Release, cpu: Cpu, files: readonly PackageFile[]): string {
  const architecture = cpu === "arm64" ? "arm64" : "amd64";
  const name = `noderax-agent_${release.version}_${architecture}.deb`;
  const size = files.reduce((sum, file) => sum + ("content" in file ? file.content.length : 0), 0);
  const control = `Package: noderax-agent
Version: ${packageVersion(release)}
Architecture: ${architecture}
Maintainer: The noderax-agent authors <noreply@example.com>
Installed-Size: ${Math.ceil(size / 1_024)}
Depends: libc6
Recommends: ca-certificates
Section: admin
Priority: optional
Description: turns a Linux machine into a managed node
 Agent of a Noderax and of a Caravanserai control plane: it runs tasks, opens
 terminals, sends metrics, and keeps the containers of projects.
`;
  const directory = mkdtempSync(join(release.directory, ".deb-"));
  try {
    layOut(directory, [
      ...files,
      text("/DEBIAN/control", control, 0o644),
      script(
        "postinst",
        `[ "$1" = configure ] || exit 0\nif [ -z "$2" ]; then\n${afterInstall}\nelse\n${afterUpgrade}\nfi`,
      ),
      script("prerm", `[ "$1" = remove ] || exit 0\n${beforeRemove}`),
      script("postrm", `case $1 in\n  remove)\n${afterRemove}\n    ;;\n  purge)\n${purge}\n    ;;\nesac`),
    ]);
    run(["chmod", "0755", directory]);
    // gzip: every dpkg reads it, and xz takes a minute for a tenth of the size.
    run(["dpkg-deb", "--root-owner-group", "-Zgzip", "--build", directory, join(release.directory, name)], {
      env: { SOURCE_DATE_EPOCH: String(release.seconds) },
    });
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
  return name;
}

const text = (path: string, content: string, mode: number): PackageFile => ({
  path,
  mode,
  content: Buffer.from(content),
});

const script = (name: string, body: string): PackageFile =>
  text(`/DEBIAN/${name}`, `#!/bin/sh\nset -e\n${body}\nexit 0\n`, 0o755);
