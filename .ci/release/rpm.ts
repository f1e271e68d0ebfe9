// The RPM package. It has no purge: data stays until they are removed by hand.
import { copyFileSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { PackageFile } from "./files.ts";
import { type Cpu, type Release, packageVersion } from "./release.ts";
import { run } from "./run.ts";
import { afterInstall, afterRemove, afterUpgrade, beforeRemove } from "./scripts.ts";
import { layOut } from "./tree.ts";

/** Builds it with rpmbuild, and returns its name. */
export function buildRpm(release: Release, cpu: Cpu, files: readonly PackageFile[]): string {
  const architecture = cpu === "arm64" ? "aarch64" : "x86_64";
  const name = `noderax-agent-${release.version}-1.${architecture}.rpm`;
  const directory = mkdtempSync(join(release.directory, ".rpm-"));
  try {
    const tree = join(directory, "tree");
    layOut(tree, files);
    writeFileSync(join(directory, "spec"), spec(release, tree, files));
    const macros = {
      _topdir: directory,
      _buildhost: "localhost",
      use_source_date_epoch_as_buildtime: "1",
      clamp_mtime_to_source_date_epoch: "1",
      _binary_payload: "w6.gzdio",
      // Stripping would cut off the program, which stands behind the runtime in the file.
      __os_install_post: "%{nil}",
      debug_package: "%{nil}",
      _build_id_links: "none",
    };
    const defines = Object.entries(macros).flatMap(([key, value]) => ["--define", `${key} ${value}`]);
    run(["rpmbuild", "-bb", "--target", architecture, ...defines, join(directory, "spec")], {
      env: { SOURCE_DATE_EPOCH: String(release.seconds) },
    });
    const made = join(directory, "RPMS", architecture);
    for (const file of readdirSync(made)) copyFileSync(join(made, file), join(release.directory, name));
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
  return name;
}

const spec = (release: Release, tree: string, files: readonly PackageFile[]): string => `Name: noderax-agent
Version: ${packageVersion(release)}
Release: 1
Summary: turns a Linux machine into a managed node
License: MIT
AutoReqProv: no

%description
Agent of a Noderax and of a Caravanserai control plane: it runs tasks, opens
terminals, sends metrics, and keeps the containers of projects.

%install
cp -a ${tree}/. %{buildroot}/

%files
%defattr(-,root,root)
%dir /opt/noderax-agent
${files.map((file) => ("target" in file ? file.path : `%attr(${file.mode.toString(8)},root,root) ${file.path}`)).join("\n")}

%post
if [ "$1" = 1 ]; then
${afterInstall}
else
${afterUpgrade}
fi

%preun
if [ "$1" = 0 ]; then
${beforeRemove}
fi

%postun
if [ "$1" = 0 ]; then
${afterRemove}
fi
`;
