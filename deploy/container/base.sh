#!/bin/sh
# base.sh | docker import - debian:bookworm
#
# Writes the image that the Dockerfile begins with, where no registry of images is reached: what Debian's
# archive says that it is, with the authorities besides that this machine was told to trust. Takes root and
# debootstrap.
set -eu
root=$(mktemp -d)
trap 'rm -rf --one-file-system "$root"' EXIT

debootstrap --variant=minbase bookworm "$root" http://deb.debian.org/debian >&2
rm -f "$root/etc/apt/sources.list" "$root/etc/resolv.conf"
rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/*
# The newest Rust of a release comes with its security updates.
cat >"$root/etc/apt/sources.list.d/debian.sources" <<END
Types: deb
URIs: http://deb.debian.org/debian
Suites: bookworm bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://deb.debian.org/debian-security
Suites: bookworm-security
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
END
if [ -d /usr/local/share/ca-certificates ]; then
  cp -R /usr/local/share/ca-certificates "$root/usr/local/share/"
fi
tar --create --numeric-owner --one-file-system --directory "$root" .
