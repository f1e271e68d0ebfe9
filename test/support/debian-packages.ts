// A private repository of small Debian packages, made in a throwaway machine, which then has no other.
import type { Throwaway } from "./throwaway.ts";

const REPOSITORY = "/srv/repository";

/** nxlib, nxhello 1.0 and 2.0 (which need it and have a configuration file), nxfail, nxslow. */
export async function debianRepository(machine: Throwaway): Promise<void> {
  await machine.sh(`
    mkdir -p ${REPOSITORY} /tmp/build; cd /tmp/build
    make() { # name version depends postinst
      rm -rf w; mkdir -p w/DEBIAN w/usr/share/nx w/etc
      echo "$2" >"w/usr/share/nx/$1"
      printf 'Package: %s\\nVersion: %s\\nArchitecture: all\\nMaintainer: a <a@example.com>\\nDescription: Greeting %s\\n Long.\\n%s' "$1" "$2" "$1" "$3" >w/DEBIAN/control
      echo "v=$2" >"w/etc/$1.conf"; echo "/etc/$1.conf" >w/DEBIAN/conffiles
      printf '#!/bin/sh\\n%s\\n' "$4" >w/DEBIAN/postinst; chmod 755 w/DEBIAN/postinst
      dpkg-deb -Zgzip -b w "${REPOSITORY}/$1_$2_all.deb" >/dev/null
    }
    make nxlib 1.0 '' true
    make nxhello 1.0 'Depends: nxlib
' true
    make nxhello 2.0 'Depends: nxlib
' true
    make nxfail 1.0 '' 'echo oh no >&2; exit 3'
    make nxslow 1.0 '' 'touch /run/nxslow-began; for i in 1 2 3 4 5 6 7 8; do sleep 0.25; done; touch /run/nxslow-ended'
    for n in 1 2 3 4 5 6; do make "nxpart$n" 1.0 '' 'sleep 0.1'; done
    cd ${REPOSITORY}
    dpkg-scanpackages -m . >Packages 2>/dev/null
    printf 'Origin: nx\\nSuite: nx\\nDate: %s\\nSHA256:\\n %s %s Packages\\n' "$(date -Ru)" "$(sha256sum Packages | cut -d' ' -f1)" "$(stat -c %s Packages)" >Release
    rm -rf /etc/apt/sources.list /etc/apt/sources.list.d/* /var/lib/apt/lists/* /etc/apt/apt.conf.d/*
    echo 'deb [trusted=yes] copy:${REPOSITORY} ./' >/etc/apt/sources.list
    apt-get -qq update
  `);
}
