#!/bin/sh
# root.sh BINARY FOLDER
#
# Makes the root folder of the image: the daemon, the libraries that it is linked with, the certificates
# with which it tells a server that it sends to, and the two files that give ids a name. No shell, no
# package manager, nothing else that could be run.
set -eu
binary=$1
root=$2

rm -rf "$root"
install -D -m 755 "$binary" "$root/usr/bin/llm-tracker"
strip "$root/usr/bin/llm-tracker"
ldd "$binary" | tr -s ' \t' '\n' | grep '^/' | while read -r library; do
  install -D -m 755 "$library" "$root$library" # At the path where the loader looks for it, links resolved.
done
install -D -m 644 /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
printf 'root:x:0:0:root:/:/sbin/nologin\n' >"$root/etc/passwd"
printf 'root:x:0:\n' >"$root/etc/group"
mkdir -m 1777 "$root/tmp"
