#!/bin/sh
# Installs noderax-agent: finds out what machine this is, fetches and verifies the executable, runs it once where it will
# stay, and hands over to its `install` command. `-h` lists the flags.
#
# Everything stands in functions and the last line calls them, so a download that was cut does nothing. Needs a POSIX
# shell, coreutils, and curl or wget. Elevates single commands, never itself: under `curl | sh` it has no file to run again.
set -euf

# Stamped in by the release build. All empty in a checkout, which therefore installs what it built itself, or needs
# --binary or --download-url.
RELEASE_VERSION=''
RELEASE_PLACE=''        # the directory of SHA256SUMS and the artefacts; {version} stands for the version
RELEASE_SUMS=''         # SHA256SUMS of RELEASE_VERSION
RELEASE_KEY_SSH=''      # the release key as in an SSH public key file: ssh-ed25519 AAAA...
RELEASE_KEY_PEM=''      # the same key as the base64 line of its PEM
RELEASE_KEY_MINISIGN='' # the same key as minisign has it: RW...
# End of what is stamped in.

PROGRAM_DIRECTORY='/opt/noderax-agent'
CONFIG_DIRECTORY='/etc/noderax-agent'
STATE_DIRECTORY='/var/lib/noderax-agent'
NAMESPACE=noderax-agent # of the SSH signature: one made for another purpose does not count
TRIES=6                 # of a download, with pauses of 1, 2, 4, 8 and 16 s: 31 s without a network

usage() {
  cat <<'END'
usage: install.sh [flags]      installs noderax-agent as a service, or brings an installed one to this version
       install.sh --uninstall [--purge]

  --api-url URL                control plane; asked for on a terminal when nothing is installed yet
  --email ADDRESS              person who approves the node; asked for on a terminal
  --bootstrap-token-file FILE  enroll with the token in FILE, without a person
  --bootstrap-token TOKEN      the same; other users of the machine see it in the process list
  --server-url URL             Caravanserai server
  --node-name NAME             name of the node there
  --ca-file FILE               trust this certificate authority too: for the download and in the configuration
  --log-level LEVEL            debug, info, warn or error
  --no-start                   install, but do not start the service
  --dry-run                    print what would be done, and change nothing

  --version VERSION            install this version
  --binary PATH                install this executable instead of downloading one
  --download-url URL           directory that holds SHA256SUMS and the artefacts; {version} stands for the version
  --binary-url URL             download this file; SHA256SUMS lies beside it
  --allow-unverified           go on where no signature or checksum can be checked; a wrong one always stops

  --uninstall                  remove what was installed; configuration and data stay
  --purge                      with --uninstall: remove those too
  -h, --help                   this text

Environment: NODERAX_AGENT_{VERSION,DOWNLOAD_BASE_URL,BINARY_URL,LOG_LEVEL,SERVICE_USER}, NODERAX_API_URL,
NODERAX_BOOTSTRAP_TOKEN, NODERAX_CONFIG_MIRROR_FILE, HTTPS_PROXY, NO_PROXY, TMPDIR.
Exit codes: 0 done, 1 failed, 2 wrong usage, 4 not reachable, 5 refused or not verified, 130 interrupted.
END
}

# --- What is asked for

defaults() {
  api_url=${NODERAX_API_URL:-} email='' token=${NODERAX_BOOTSTRAP_TOKEN:-} server_url='' node_name='' ca_file=''
  log_level=${NODERAX_AGENT_LOG_LEVEL:-} start=yes dry_run=no uninstall=no purge=no allow_unverified=no
  version=${NODERAX_AGENT_VERSION:-} binary='' place=${NODERAX_AGENT_DOWNLOAD_BASE_URL:-}
  binary_url=${NODERAX_AGENT_BINARY_URL:-}
  # The agent runs as root; its tasks have this user.
  task_user=${NODERAX_AGENT_SERVICE_USER:-}
  # Kept in a variable of the shell alone: no child inherits it.
  unset NODERAX_BOOTSTRAP_TOKEN
  work='' staging='' elevate='' reporting=no percent=5 reason='' bundle='' fetcher='' verifier='' handed_over=no
}

parse_arguments() {
  while [ $# -gt 0 ]; do
    flag=${1%%=*}
    case $flag in
      --no-start | --dry-run | --uninstall | --purge | --allow-unverified | -h | --help)
        [ "$flag" = "$1" ] || fail 2 "$flag takes no value"
        set_switch
        ;;
      --api-url | --email | --bootstrap-token | --bootstrap-token-file | --server-url | --node-name | --ca-file | \
        --log-level | --version | --binary | --download-url | --binary-url)
        if [ "$flag" != "$1" ]; then
          value=${1#*=}
        else
          [ $# -ge 2 ] || fail 2 "$flag needs a value"
          shift
          value=$1
        fi
        [ -n "$value" ] || fail 2 "$flag needs a value"
        set_value
        ;;
      *) fail 2 "unknown flag $flag" "install.sh -h lists the flags." ;;
    esac
    shift
  done
  has_no_effect INSTALL_DIR "$PROGRAM_DIRECTORY"
  has_no_effect CONFIG_DIR "$CONFIG_DIRECTORY"
  has_no_effect STATE_DIR "$STATE_DIRECTORY"
  has_no_effect SERVICE_HOME "$STATE_DIRECTORY"
  [ "$purge" = no ] || [ "$uninstall" = yes ] || fail 2 "--purge needs --uninstall"
  normalize_arguments
}

# Variables of the Go agent's installer that would move what has its fixed place now.
has_no_effect() {
  eval "value=\${NODERAX_AGENT_$1:-$2}"
  [ "$value" = "$2" ] || note "warning: NODERAX_AGENT_$1 has no effect; what it moved has a fixed place now"
}

set_switch() {
  case $flag in
    --no-start) start=no ;;
    --dry-run) dry_run=yes ;;
    --uninstall) uninstall=yes ;;
    --purge) purge=yes ;;
    --allow-unverified) allow_unverified=yes ;;
    -h | --help) usage && exit 0 ;;
  esac
}

set_value() {
  case $flag in
    --api-url) api_url=$value ;;
    --email) email=$value ;;
    --bootstrap-token) token=$value ;;
    --bootstrap-token-file) read_token "$value" ;;
    --server-url) server_url=$value ;;
    --node-name) node_name=$value ;;
    --ca-file) ca_file=$(absolute "$value") ;;
    --log-level) log_level=$value ;;
    --version) version=$value ;;
    --binary) binary=$(absolute "$value") ;;
    --download-url) place=$value ;;
    --binary-url) binary_url=$value ;;
  esac
}

read_token() {
  [ -r "$1" ] || fail 2 "--bootstrap-token-file: $1 cannot be read"
  token=''
  # A last line without its end is a line too.
  read -r token <"$1" || [ -n "$token" ] || fail 2 "--bootstrap-token-file: $1 is empty"
}

normalize_arguments() {
  case $token in *[!A-Za-z0-9._~+/=:-]*) fail 2 "the bootstrap token has characters that no token has" ;; esac
  [ -z "$api_url" ] || normalize_api_url
  [ -z "$binary" ] || [ -f "$binary" ] || fail 2 "--binary: $binary is no file"
  [ -z "$ca_file" ] || [ -r "$ca_file" ] || fail 2 "--ca-file: $ca_file cannot be read"
  version=${version#v}
  case $version in *[!A-Za-z0-9.+-]*) fail 2 "--version: $version is no version" ;; esac
  if [ -n "${NODERAX_CONFIG_MIRROR_FILE:-}" ]; then
    NODERAX_CONFIG_MIRROR_FILE=$(absolute "$NODERAX_CONFIG_MIRROR_FILE")
    export NODERAX_CONFIG_MIRROR_FILE
  fi
}

# The origin: the agent and the progress reports add /api/v1 themselves. The web application's own origin works as well.
normalize_api_url() {
  case $api_url in
    *[[:space:]\"\'\\]*) fail 2 "--api-url: $api_url is no URL" ;;
    http://* | https://*) ;;
    *://*) fail 2 "--api-url: $api_url is neither http nor https" ;;
    *) api_url=https://$api_url ;;
  esac
  for suffix in / /v1 /api /; do api_url=${api_url%"$suffix"}; done
}

absolute() {
  case $1 in
    /*) printf '%s\n' "$1" ;;
    *) printf '%s/%s\n' "$PWD" "$1" ;;
  esac
}

# --- Speaking, failing, cleaning up

note() {
  printf '%s\n' "$*" >&2
}

# fail EXIT-CODE REASON [HINT]...: says why on stderr and to the control plane, and ends the script.
fail() {
  code=$1 reason=$2
  shift 2
  note "error: $reason"
  for hint in "$@"; do note "  $hint"; done
  exit "$code"
}

# Runs at every end of the script, also that of a signal and of a command that `set -e` stopped at.
# shellcheck disable=SC2317 # the traps call it
finish() {
  code=$?
  trap - EXIT
  trap '' HUP INT TERM
  # What the agent's own `install` reports is better than what can be said here, if it came that far.
  if [ "$code" -ne 0 ] && { [ "$handed_over" = no ] || [ "$code" -eq 2 ] || [ "$code" -ge 126 ]; }; then
    report failed "$percent" "${reason:-install.sh ended with exit code $code}" failed
  fi
  [ -z "$staging" ] || as_root rm -rf "$staging"
  [ -z "$work" ] || rm -rf "$work"
  exit "$code"
}

clean_up_at_the_end() {
  trap finish EXIT
  trap 'reason="interrupted"; exit 130' INT
  trap 'reason="terminated"; exit 143' TERM
  trap 'reason="the terminal was closed"; exit 129' HUP
  umask 077
  work=$(mktemp -d "${TMPDIR:-/tmp}/noderax-install-XXXXXX") ||
    fail 1 "no temporary directory can be made in ${TMPDIR:-/tmp}" "Choose another place: TMPDIR=/var/tmp"
}

# report STAGE PERCENT MESSAGE [STATUS]: tells the control plane how far an installation with a bootstrap token is. The
# token travels by stdin or a file, never as an argument. Without an answer the installation goes on.
report() {
  percent=$2
  [ "$reporting" = yes ] || return 0
  message=$(printf '%s' "$3" | LC_ALL=C tr -cd 'A-Za-z0-9 .,:;/()_=+@%#{}-' | cut -c 1-400)
  printf '{"token":"%s","stage":"%s","status":"%s","progressPercent":%s,"statusMessage":"%s"}' \
    "$token" "$1" "${4:-installing}" "$2" "$message" >"$work/report"
  if ! post "$api_url/api/v1/node-installs/progress" "$work/report" 2>"$work/said"; then
    note "progress cannot be reported to $api_url: $(said_in "$work/said")"
    reporting=no
  fi
  rm -f "$work/report"
}

# What a program wrote to a file, in one line.
said_in() {
  text=$(tr '\n' ' ' <"$1" | cut -c 1-300)
  printf '%s\n' "${text:-no reason was given}"
}

# --- The machine

find_machine() {
  # Where a user's PATH may not lead, and restorecon lies.
  PATH=$PATH:/usr/sbin:/sbin
  for tool in mktemp sha256sum uname cut tr sed df; do
    has "$tool" || fail 1 "$tool is missing" "It belongs to coreutils, sed or busybox."
  done
  [ "$(uname -s)" = Linux ] || fail 1 "noderax-agent runs on Linux; this is $(uname -s)"
  case $(uname -m) in
    x86_64 | amd64) cpu=x64 loader=/lib64/ld-linux-x86-64.so.2 ;;
    aarch64 | arm64) cpu=arm64 loader=/lib/ld-linux-aarch64.so.1 ;;
    *) fail 1 "there is no noderax-agent for $(uname -m)" "$(facts)" ;;
  esac
  if has getconf && [ "$(getconf LONG_BIT 2>/dev/null)" = 32 ]; then
    fail 1 "this is a 32-bit system on a 64-bit processor; noderax-agent needs a 64-bit one" "$(facts)"
  fi
  platform=linux-$cpu
  # Both may be installed; then the executable for glibc runs.
  # shellcheck disable=SC2010 # globbing is off
  if [ ! -e "$loader" ] && ls /lib 2>/dev/null | grep -q '^ld-musl-'; then platform=$platform-musl; fi
}

# The executable for musl loads a library that a fresh Alpine does not have. Asked before the download.
require_libraries() {
  case $platform in *-musl) ;; *) return 0 ;; esac
  for directory in /usr/lib /lib /usr/local/lib; do
    [ ! -e "$directory/libstdc++.so.6" ] || return 0
  done
  fail 1 "libstdc++ is missing, which noderax-agent needs on a system with musl" \
    "Install it; on Alpine:  apk add libstdc++" "$(facts)"
}

has() {
  command -v "$1" >/dev/null 2>&1
}

# One line about the machine, for the one who is asked for help.
facts() {
  name=$(sed -n 's/^PRETTY_NAME="\{0,1\}\([^"]*\)"\{0,1\}$/\1/p' /etc/os-release 2>/dev/null || :)
  printf 'This machine: %s, %s.\n' "${name:-unknown distribution}" "$(uname -srm)"
}

become_root() {
  [ "$(id -u)" -ne 0 ] || return 0
  tried=''
  for tool in sudo doas run0; do
    has "$tool" || continue
    elevate=$tool
    if as_root true; then return; fi
    tried="$tried${tried:+ and }$tool"
  done
  elevate=''
  [ -z "$tried" ] || fail 5 "$tried did not let $(id -un) become root" "Run it as root."
  fail 5 "this needs root, and there is no sudo, doas or run0" "Run it as root."
}

as_root() {
  if [ -z "$elevate" ]; then "$@"; else "$elevate" "$@"; fi
}

# as_root, with what the agent reads of the environment. sudo, doas and run0 drop it in different ways, and a proxy's
# password must not stand in an argument: hence a file.
as_root_with_environment() {
  if [ -z "$elevate" ]; then
    "$@"
    return
  fi
  for variable in HTTPS_PROXY HTTP_PROXY ALL_PROXY NO_PROXY https_proxy http_proxy all_proxy no_proxy \
    NODERAX_CONFIG_MIRROR_FILE; do
    eval "value=\${$variable:-}"
    [ -z "$value" ] || printf "export %s='%s'\n" "$variable" "$(printf '%s' "$value" | sed "s/'/'\\\\''/g")"
  done >"$work/environment"
  # shellcheck disable=SC2016 # for the other shell to expand
  as_root sh -c '. "$1"; shift; exec "$@"' sh "$work/environment" "$@"
}

# --- The network

find_fetcher() {
  if has curl; then
    fetcher=curl
  elif has wget; then
    fetcher=wget
    # It checks no certificate. What it downloads is verified here; a token must not go that way.
    case $(wget --help 2>&1 || :) in *BusyBox*) fetcher=busybox ;; esac
  fi
  # curl and wget each read only some of these.
  if [ -z "${https_proxy:-}" ] && [ -n "${HTTPS_PROXY:-}" ]; then export https_proxy="$HTTPS_PROXY"; fi
  if [ -z "${http_proxy:-}" ] && [ -n "${HTTP_PROXY:-}" ]; then export http_proxy="$HTTP_PROXY"; fi
  if [ -z "${no_proxy:-}" ] && [ -n "${NO_PROXY:-}" ]; then export no_proxy="$NO_PROXY"; fi
  [ -z "$ca_file" ] || bundle_authorities
}

# The tools take one file of authorities, which replaces the system's own: the download may need those.
bundle_authorities() {
  bundle=$work/authorities.pem
  for system in /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt /etc/ssl/ca-bundle.pem \
    /etc/ssl/cert.pem; do
    if [ -r "$system" ]; then
      cat "$system" >"$bundle"
      break
    fi
  done
  cat "$ca_file" >>"$bundle"
}

# transfer FILE URL: continues FILE where it ends. Returns the exit code of curl or wget.
transfer() {
  case $fetcher in
    curl)
      set -- --fail --location --connect-timeout 20 --speed-limit 1000 --speed-time 30 \
        ${bundle:+--cacert "$bundle"} --continue-at - --output "$@"
      if [ "$progress" = yes ]; then set -- --progress-bar "$@"; else set -- --silent --show-error "$@"; fi
      curl "$@"
      ;;
    wget)
      set -- --tries=1 --timeout=30 ${bundle:+"--ca-certificate=$bundle"} --continue -O "$@"
      if [ "$progress" = yes ]; then set -- --quiet --show-progress "$@"; else set -- --no-verbose "$@"; fi
      wget "$@"
      ;;
    busybox) limited 300 wget -q -c -O "$@" ;;
  esac
}

# The wget of busybox may know no timeout of its own. What is ended here goes on in the next try.
limited() {
  if has timeout; then timeout "$@"; else shift && "$@"; fi
}

post() {
  case $fetcher in
    curl)
      curl --silent --show-error --fail --max-time 15 ${bundle:+--cacert "$bundle"} --output /dev/null \
        --header 'Content-Type: application/json' --data-binary @- "$1" <"$2"
      ;;
    wget)
      wget --quiet --tries=1 --timeout=15 ${bundle:+"--ca-certificate=$bundle"} -O /dev/null \
        --header='Content-Type: application/json' --post-file="$2" "$1"
      ;;
    busybox) limited 15 wget -q -O /dev/null --header 'Content-Type: application/json' --post-file "$2" "$1" ;;
  esac
}

# fetch URL FILE: resumes after each cut. Returns 1 when the server has no such file, and the reason is in $work/said.
fetch() {
  pause=1
  try=1
  progress=no
  case $2 in *.part) [ ! -t 2 ] || progress=yes ;; esac
  while :; do
    ended=0
    if [ "$progress" = yes ]; then
      : >"$work/said"
      transfer "$2" "$1" || ended=$?
    else
      transfer "$2" "$1" 2>"$work/said" || ended=$?
    fi
    case $fetcher:$ended in
      *:0) return 0 ;;
      # An answer, and it is an error; a second try gets the same.
      curl:22 | wget:8) return 1 ;;
      curl:23 | wget:3) fail 1 "$2 cannot be written: $(said_in "$work/said")" \
        "$(space "$work")" "Choose another place with TMPDIR." ;;
      # The server cannot continue: from the start.
      curl:33 | wget:1) rm -f "$2" ;;
    esac
    full "$work" && fail 1 "there is no space left for $2" "$(space "$work")" "Choose another place with TMPDIR."
    if [ "$fetcher" = busybox ] && grep -q 'HTTP/[0-9.]* 4' "$work/said"; then return 1; fi
    [ "$try" -lt "$TRIES" ] || fail 4 "$1 cannot be fetched: $(said_in "$work/said")" \
      "Behind a proxy, set HTTPS_PROXY; for a private certificate authority, give --ca-file." \
      "Without a network, copy the executable here and give --binary."
    note "the download was cut, going on in $pause s: $(said_in "$work/said")"
    sleep "$pause"
    pause=$((pause * 2)) try=$((try + 1))
  done
}

kilobytes_free() {
  df -Pk "$1" | sed -n '2s/^[^ ]* *[0-9]* *[0-9]* *\([0-9]*\) .*/\1/p'
}

full() {
  [ "$(kilobytes_free "$1")" -lt 64 ]
}

space() {
  printf '%s has %s MB left.\n' "$1" "$(($(kilobytes_free "$1") / 1024))"
}

# --- The executable

# Sets `binary` to what will be installed, and `origin` to where it came from, for people.
find_executable() {
  installed=$PROGRAM_DIRECTORY/noderax-agent
  if [ -n "$binary" ]; then
    origin="$binary, which was named by --binary and is not verified"
  elif [ -z "$place$binary_url$version" ] && in_checkout; then
    binary=$checkout/dist/noderax-agent
    origin="$binary, the build of this checkout"
  else
    download
  fi
}

# In a checkout the script is a file, and the build lies beside it.
in_checkout() {
  case $0 in
    */*) checkout=${0%/*} ;;
    *) checkout=. ;;
  esac
  [ "${0##*/}" = install.sh ] && [ -f "$0" ] && [ -f "$checkout/dist/noderax-agent" ] &&
    checkout=$(cd "$checkout" && pwd)
}

download() {
  if [ -n "$binary_url" ]; then
    place=${binary_url%/*}
  else
    version=${version:-$RELEASE_VERSION}
    place=${place:-$RELEASE_PLACE}
  fi
  [ -n "$place" ] || fail 2 "this install.sh does not know where to download from" \
    "Give --binary PATH or --download-url URL. In a checkout, \`npm run build\` makes dist/noderax-agent first."
  case $place in
    *'{version}'*)
      [ -n "$version" ] || fail 2 "the place has one directory for each version" "Give --version."
      place=${place%%'{version}'*}$version${place#*'{version}'}
      ;;
  esac
  place=${place%/}
  [ -n "$fetcher" ] ||
    fail 1 "there is no curl and no wget" "Install one, or copy the executable here and give --binary."
  find_sums
  choose_artefact
  expected=$(sum_of "${artefact%.gz}")
  if [ -n "$expected" ] && [ -f "$installed" ] && [ "$(sum "$installed")" = "$expected" ]; then
    binary=$installed
    origin="$installed, which is this version already ($verified)"
  else
    report binary_download_started 60 "Downloading $artefact"
    fetch_artefact
    report binary_downloaded 74 "Downloaded $artefact"
  fi
}

# Makes $work/SHA256SUMS, empty when there is none that can be trusted, and sets `verified` to what vouches for it.
find_sums() {
  : >"$work/SHA256SUMS"
  if [ -n "$RELEASE_KEY_SSH" ] && find_verifier && fetch "$place/SHA256SUMS" "$work/SHA256SUMS"; then
    fetch "$place/SHA256SUMS.$signature" "$work/SHA256SUMS.$signature" ||
      fail 5 "$place/SHA256SUMS has no signature: $(said_in "$work/said")"
    verify_signature || fail 5 "the signature of $place/SHA256SUMS is wrong ($verifier)" "$(said_in "$work/said")"
    verified="signature verified by $verifier"
  elif [ -n "$RELEASE_SUMS" ] && [ "$version" = "$RELEASE_VERSION" ]; then
    printf '%s\n' "$RELEASE_SUMS" >"$work/SHA256SUMS"
    verified="verified by the checksums in install.sh"
  elif [ "$allow_unverified" = no ]; then
    if [ -n "$RELEASE_KEY_SSH" ] && [ -n "$verifier" ]; then
      fail 5 "$place has no SHA256SUMS: $(said_in "$work/said")"
    elif [ -n "$RELEASE_KEY_SSH" ]; then
      fail 5 "nothing here can verify a signature" \
        "Install openssh-client (8.1 or newer), openssl (3.0 or newer) or minisign, or give --allow-unverified."
    fi
    fail 5 "this install.sh has no release key, so it cannot verify what it downloads" "--allow-unverified goes on."
  elif fetch "$place/SHA256SUMS" "$work/SHA256SUMS"; then
    verified="checksum right, but its signature was NOT verified"
  else
    : >"$work/SHA256SUMS"
    verified="NOT verified"
  fi
}

# Sets `verifier` to the first program here that can check one of the signatures.
find_verifier() {
  verifier='' signature=sig
  if has ssh-keygen && can_verify_ssh; then
    verifier=ssh-keygen
  elif has openssl && openssl pkeyutl -help 2>&1 | grep -q rawin; then
    verifier=openssl
  elif has minisign && [ -n "$RELEASE_KEY_MINISIGN" ]; then
    verifier=minisign
    signature=minisig
  fi
  [ -n "$verifier" ]
}

# Older ones do not know the option -Y, or its `verify`.
can_verify_ssh() {
  case $(ssh-keygen -Y verify 2>&1 </dev/null || :) in *option*-*Y* | *nsupported*) return 1 ;; esac
}

verify_signature() {
  case $verifier in
    ssh-keygen)
      printf '%s namespaces="%s" %s\n' release "$NAMESPACE" "$RELEASE_KEY_SSH" >"$work/signers"
      ssh-keygen -Y verify -f "$work/signers" -I release -n "$NAMESPACE" -s "$work/SHA256SUMS.sig" \
        <"$work/SHA256SUMS" >"$work/said" 2>&1
      ;;
    openssl) verify_by_openssl >"$work/said" 2>&1 ;;
    minisign) minisign -Vq -m "$work/SHA256SUMS" -P "$RELEASE_KEY_MINISIGN" >"$work/said" 2>&1 ;;
  esac
}

# Ed25519 signatures are 64 bytes, the last of the file. What SSH signs is not the file itself, but its digest behind the
# namespace, each with its length (PROTOCOL.sshsig of OpenSSH).
verify_by_openssl() {
  printf '%s\n' '-----BEGIN PUBLIC KEY-----' "$RELEASE_KEY_PEM" '-----END PUBLIC KEY-----' >"$work/key.pem" &&
    sed '/^-----/d' "$work/SHA256SUMS.sig" | openssl base64 -d | tail -c 64 >"$work/signature" &&
    printf 'SSHSIG\000\000\000\015%s\000\000\000\000\000\000\000\006sha512\000\000\000\100' "$NAMESPACE" >"$work/signed" &&
    openssl dgst -sha512 -binary "$work/SHA256SUMS" >>"$work/signed" &&
    openssl pkeyutl -verify -pubin -inkey "$work/key.pem" -rawin -in "$work/signed" -sigfile "$work/signature"
}

sum() {
  sha256sum <"$1" | cut -d ' ' -f 1
}

# sum_of NAME: what SHA256SUMS says of it; nothing when it is not listed.
sum_of() {
  while read -r listed name; do
    if [ "${name#\*}" = "$1" ]; then
      printf '%s\n' "$listed"
      return
    fi
  done <"$work/SHA256SUMS"
}

# Sets `artefact`. Its name carries the version, so signed checksums of another version do not pass for this one.
choose_artefact() {
  compressed=''
  ! has gzip || compressed=.gz
  if [ -n "$binary_url" ]; then
    artefact=${binary_url##*/}
  elif [ -n "$version" ]; then
    artefact=noderax-agent-$version-$platform$compressed
    # Published without the compressed one.
    if [ -z "$(sum_of "$artefact")" ] && [ -n "$(sum_of "${artefact%.gz}")" ]; then artefact=${artefact%.gz}; fi
  else
    names="noderax-agent-[A-Za-z0-9.+-]*-$platform"
    artefact=$(sed -n "s/^[0-9a-f]* [ *]\($names\)\$/\1$compressed/p" "$work/SHA256SUMS")
    case $artefact in
      '') fail 5 "$place lists no noderax-agent for $platform" "Give --version. $(facts)" ;;
      *[[:space:]]*) fail 2 "$place has several versions" "Give --version." ;;
    esac
  fi
  if [ -s "$work/SHA256SUMS" ] && [ -z "$(sum_of "$artefact")" ]; then
    fail 5 "$place does not list $artefact" "$(facts)"
  fi
}

fetch_artefact() {
  note "downloading $artefact from $place"
  fetch "$place/$artefact" "$work/$artefact.part" ||
    fail 4 "$place/$artefact cannot be fetched: $(said_in "$work/said")"
  check "$work/$artefact.part" "$artefact"
  binary=$work/noderax-agent
  case $artefact in
    *.gz)
      gzip -dc <"$work/$artefact.part" >"$binary" 2>"$work/said" ||
        fail 1 "$artefact cannot be decompressed: $(said_in "$work/said")" \
          "$(space "$work")" "Choose another place with TMPDIR."
      rm "$work/$artefact.part"
      check "$binary" "${artefact%.gz}"
      ;;
    *) mv "$work/$artefact.part" "$binary" ;;
  esac
  origin="$artefact ($verified)"
}

# check FILE NAME: a wrong checksum stops, whatever is allowed.
check() {
  wanted=$(sum_of "$2")
  found=$(sum "$1")
  [ -z "$wanted" ] || [ "$wanted" = "$found" ] || fail 5 "the checksum of $2 is wrong" \
    "SHA256SUMS says $wanted" "but it is     $found"
}

# --- Running it

# Copies the executable to where it will stay, or rather beside: a directory of root's on the same file system, so that
# nobody can exchange it, `noexec` shows, and what is installed there goes on running until the new one takes over.
stage() {
  if [ -f "$installed" ] && [ "$(sum "$binary")" = "$(sum "$installed")" ]; then
    binary=$installed
    probe "$binary"
    return
  fi
  near=${PROGRAM_DIRECTORY%/*}
  until [ -d "${near:-/}" ]; do near=${near%/*}; done
  if [ "$dry_run" = yes ] && may_execute_in "$work"; then near=$work; fi
  staging=$(as_root mktemp -d "$near/.noderax-agent-XXXXXX") || {
    staging=''
    fail 1 "nothing can be written to ${near:-/}" "Is it read-only? Mount or link something writable there."
  }
  # A copy takes the label of the directory it is made in, as SELinux wants it; a moved file keeps its old one.
  as_root cp "$binary" "$staging/noderax-agent" ||
    fail 1 "the executable cannot be copied to ${near:-/}" "$(space "${near:-/}")"
  as_root chmod 0755 "$staging/noderax-agent"
  ! has restorecon || as_root restorecon "$staging/noderax-agent" || :
  binary=$staging/noderax-agent
  [ ! -f "$work/noderax-agent" ] || rm "$work/noderax-agent"
  probe "$binary"
}

may_execute_in() {
  printf '#!/bin/sh\n' >"$1/probe" && chmod 0700 "$1/probe" && "$1/probe" 2>/dev/null
}

probe() {
  # Without stderr: sudo says there what else it does not like.
  said=$(as_root "$1" --version 2>"$work/said") || {
    ended=$?
    said="$said$(said_in "$work/said")"
    case $ended:$said in
      *libstdc++*) fail 1 "the executable needs libstdc++: $said" "Install it:  apk add libstdc++" ;;
      126:*)
        fail 1 "the executable may not run in ${1%/*}: $said" "Is it mounted noexec?"
        ;;
      132:*) fail 1 "this processor lacks an instruction that noderax-agent needs" "$(facts)" ;;
      *) fail 1 "the executable does not run here (exit code $ended)" "$said" "$(facts)" ;;
    esac
  }
  case $said in
    "noderax-agent ${version:+$version }"*) ;;
    *) fail 5 "the executable is not noderax-agent $version" "It says: $said" ;;
  esac
  note "$said from $origin"
}

hand_over() {
  handed_over=yes
  # The agent's files have modes of their own.
  umask 022
  code=0
  as_root_with_environment "$binary" "$@" </dev/null || code=$?
  exit "$code"
}

install_agent() {
  # Whatever could be asked was asked here.
  set -- install --non-interactive
  [ -z "$api_url" ] || set -- "$@" --api-url "$api_url"
  [ -z "$email" ] || set -- "$@" --email "$email"
  [ -z "$server_url" ] || set -- "$@" --server-url "$server_url"
  [ -z "$node_name" ] || set -- "$@" --node-name "$node_name"
  [ -z "$ca_file" ] || set -- "$@" --api-tls-ca-file "$ca_file"
  [ -z "$log_level" ] || set -- "$@" --log-level "$log_level"
  [ -z "$task_user" ] || set -- "$@" --task-user "$task_user"
  [ "$start" = yes ] || set -- "$@" --no-start
  [ "$dry_run" = no ] || set -- "$@" --dry-run
  if [ -n "$token" ]; then
    printf '%s\n' "$token" >"$work/token"
    set -- "$@" --bootstrap-token-file "$work/token"
  fi
  hand_over "$@"
}

uninstall_agent() {
  installed=$PROGRAM_DIRECTORY/noderax-agent
  if [ -f "$installed" ]; then
    binary=$installed
  elif [ "$purge" = yes ] && as_root test -e "$STATE_DIRECTORY/install.json"; then
    # The executable went with an earlier --uninstall, but not the data and what knows of them.
    find_executable
    stage
  else
    note "noderax-agent is not installed in $PROGRAM_DIRECTORY"
    exit 0
  fi
  set -- uninstall
  [ "$purge" = no ] || set -- "$@" --purge
  [ "$dry_run" = no ] || set -- "$@" --dry-run
  hand_over "$@"
}

# --- Questions

# Only for a first installation, and only on a terminal that can really be opened: in the build of a container there is a
# /dev/tty that cannot, and under `curl | sh` stdin is this script.
ask_what_is_missing() {
  [ -z "$token" ] || [ -n "$api_url" ] || fail 2 "--bootstrap-token needs --api-url"
  if [ -n "$server_url$token" ] || as_root test -e "$CONFIG_DIRECTORY/config.json"; then return; fi
  if ! (: </dev/tty) 2>/dev/null; then
    [ -n "$api_url" ] || fail 2 "no control plane is named" \
      "Give --api-url URL, with --email ADDRESS or --bootstrap-token-file FILE, or give --server-url URL."
    return
  fi
  if [ -z "$api_url" ]; then
    ask "Control plane URL:"
    api_url=$answer
    normalize_api_url
  fi
  if [ -z "$email" ]; then
    ask "E-mail of the person who approves:"
    email=$answer
  fi
}

ask() {
  answer=''
  until [ -n "$answer" ]; do
    printf '%s ' "$1" >/dev/tty
    read -r answer </dev/tty || fail 2 "there was no answer to: $1"
  done
}

main() {
  defaults
  parse_arguments "$@"
  clean_up_at_the_end
  find_machine
  become_root
  find_fetcher
  [ "$uninstall" = no ] || uninstall_agent
  require_libraries
  ask_what_is_missing
  if [ -n "$token" ] && [ -n "$fetcher" ] && [ "$dry_run" = no ]; then
    case $fetcher:$api_url in
      busybox:https:*) note "progress is not reported: busybox's wget checks no certificate" ;;
      *) reporting=yes ;;
    esac
  fi
  report installer_started 8 "The installer runs"
  report dependencies_ready 30 "$(facts)"
  find_executable
  stage
  report agent_bootstrapping 88 "Handing over to the agent's install command"
  install_agent
}

# In braces, so that a cut within this line is a syntax error and not a call without arguments.
{ main "$@"; }
