# What the container of box.ts does; the variables with its ports stand in front of it. busybox is all it has.
trap 'exit 0' TERM
busybox mkdir -p /www/cgi-bin
echo "$GREETING" >/www/index.html

cat >/www/cgi-bin/environment <<'END'
#!/bin/sh
printf 'Content-Type: text/plain\r\n\r\n'
env
END
busybox chmod +x /www/cgi-bin/environment

cat >/banner <<'END'
echo '8.0 busybox is ready'
while read -r line; do echo "you said: $line"; done
END

cat >/stream <<'END'
round=0
while [ "$round" -lt "$ROUNDS" ]; do echo "$round"; cat /blob; round=$((round + 1)); done
END

# RFC 6455: a handshake, then message by message; `dd` reads no byte too many.
cat >/websocket <<'END'
while read -r line; do
  line="${line%?}"
  case "$line" in
    "") break ;;
    [Ss]ec-[Ww]eb[Ss]ocket-[Kk]ey:*) key="${line#*: }" ;;
  esac
done
sum="$(printf %s "${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11" | busybox sha1sum)"
accept="$(printf "$(printf %s "${sum%% *}" | busybox sed 's/../\\x&/g')" | busybox base64)"
printf 'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n'
printf 'Sec-WebSocket-Accept: %s\r\n\r\n' "$accept"
bytes() { dd bs=1 count="$1" 2>/dev/null | busybox hexdump -v -e '1/1 "%u "'; }
octal() { printf '\\%03o' "$@"; }
while :; do
  set -- $(bytes 6)
  [ $# -eq 6 ] || exit 0
  code=$(($1 & 15)) length=$(($2 & 127)) said=""
  shift 2
  for byte in $(bytes "$length"); do
    said="$said$(octal $((byte ^ $1)))"
    set -- "$2" "$3" "$4" "$1"
  done
  printf "$(octal $((128 | code)) "$length")$said"
  [ "$code" -ne 8 ] || exit 0
done
END

dd if=/dev/urandom of=/blob bs=65536 count=64 2>/dev/null
httpd -f -p "$http" -h /www &
# One process per connection, its socket as standard input and output.
nc -ll -p "$echo" -e cat &
nc -ll -p "$banner" -e sh /banner &
nc -ll -p "$flood" -e cat /dev/zero &
nc -ll -p "$sink" -e busybox sha256sum &
nc -ll -p "$stream" -e sh /stream &
nc -ll -p "$websocket" -e sh /websocket &
echo listening
wait
