// Private repositories of small rpm and pacman packages, made in a throwaway machine that takes itself for another system.
import type { Throwaway } from "./throwaway.ts";

const RPMS = "/srv/rpm";
const PACMAN = "/srv/pacman";

/** nxlib (with an epoch), nxhello 1.0 and 2.0 which need it, and the repository for dnf and zypper. */
export async function rpmRepository(machine: Throwaway, distribution: "fedora" | "opensuse"): Promise<void> {
  await machine.sh(`
    rm -f /etc/os-release; echo 'ID=${distribution}' >/etc/os-release
    mkdir -p ${RPMS} /tmp/build /etc/rpm /var/lib/rpm; cd /tmp/build
    echo '%_dbpath /var/lib/rpm' >/etc/rpm/macros
    make() { # name version more
      printf 'Name: %s\\nVersion: %s\\nRelease: 1\\nSummary: Greeting %s\\nLicense: MIT\\nBuildArch: noarch\\n%s\\n%%description\\nLong.\\n%%files\\n/usr/share/nx/%s\\n%%install\\nmkdir -p %%{buildroot}/usr/share/nx; echo %s >%%{buildroot}/usr/share/nx/%s\\n' "$1" "$2" "$1" "$3" "$1" "$2" "$1" >one.spec
      rpmbuild -bb --quiet --define '_rpmdir ${RPMS}' --define '_topdir /tmp/build/top' one.spec >/dev/null 2>&1
    }
    make nxbase 1.0 ''; make nxlib 1.0 'Epoch: 1'; make nxhello 1.0 'Requires: nxlib'; make nxhello 2.0 'Requires: nxlib'
    createrepo_c -q ${RPMS}
    for at in /etc/yum.repos.d /etc/zypp/repos.d; do
      mkdir -p "$at"; rm -f "$at"/*
      printf '[nx]\\nname=nx\\nbaseurl=file://${RPMS}\\nenabled=1\\ngpgcheck=0\\nautorefresh=1\\n' >"$at/nx.repo"
    done
    # zypper fails on an empty database; Debian's rpm wants to be told that it is meant.
    rpm --initdb; rpm --force-debian -i ${RPMS}/noarch/nxbase-1.0-1.noarch.rpm
  `);
}

/** nxlib, nxhello 1.0-1 which needs it; the database is refreshed. */
export async function pacmanRepository(machine: Throwaway): Promise<void> {
  await machine.sh(`
    rm -f /etc/os-release; echo 'ID=arch' >/etc/os-release
    mkdir -p ${PACMAN} /tmp/build/db; cd /tmp/build
    make() { # name depends
      rm -rf w; mkdir -p w/usr/share/nx; echo 1 >"w/usr/share/nx/$1"
      printf 'pkgname = %s\\npkgver = 1.0-1\\npkgdesc = Greeting %s\\narch = any\\nsize = 8\\n' "$1" "$1" >w/.PKGINFO
      [ -z "$2" ] || echo "depend = $2" >>w/.PKGINFO
      file="$1-1.0-1-any.pkg.tar.gz"; tar -C w -czf "${PACMAN}/$file" .PKGINFO usr
      mkdir "db/$1-1.0-1"
      { for pair in "FILENAME $file" "NAME $1" "VERSION 1.0-1" "DESC Greeting $1" "ARCH any" "SHA256SUM $(sha256sum "${PACMAN}/$file" | cut -d' ' -f1)" "DEPENDS $2"; do
          key="\${pair%% *}"; value="\${pair#* }"; [ -z "$value" ] || printf '%%%s%%\\n%s\\n\\n' "$key" "$value"
        done; } >"db/$1-1.0-1/desc"
    }
    make nxlib ''; make nxhello nxlib
    (cd db && tar -czf ${PACMAN}/nx.db *)
    printf '[options]\\nArchitecture = auto\\nSigLevel = Never\\n[nx]\\nServer = file://${PACMAN}\\n' >/etc/pacman.conf
    pacman -Sy >/dev/null
  `);
}
