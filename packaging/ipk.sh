#!/bin/sh
# Packs a binary that was built for OpenWrt, and what belongs to it, into an .ipk as opkg wants it:
# a compressed tar of two more. What is in it, packaging/openwrt/net/tidegate/Makefile says, which is
# OpenWrt's own; only the build system around it is stood in for. The same files give the same bytes.
#
# usage: [STRIP=PROGRAM] packaging/ipk.sh BINARY ARCHITECTURE DIRECTORY
set -eu
cd "$(dirname "$0")/.."
[ -x "$1" ] || { echo "$1 is no program" >&2 && exit 64; }
grep -aq /ld-linux "$1" && echo "note: $1 was built for glibc; OpenWrt has musl, and will not run it" >&2
binary=$(realpath "$1") arch=$2
mkdir -p "$3"
output=$(realpath "$3")
stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT

# A tarball keeps no history: then it is as old as its Makefile.
date=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || stat -c %Y Makefile)}
pack() { # DIRECTORY [OPTION...] into a .tar.gz on standard output
	directory=$1
	shift
	tar -C "$directory" --format=gnu --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$date" "$@" -cf - |
		gzip -9n
}

umask 022
mkdir -p "$stage/build/build" "$stage/root" "$stage/ipk"
cp "$binary" "$stage/build/build/tidegate"
[ -z "${STRIP:-}" ] || "$STRIP" "$stage/build/build/tidegate"
ln -s "$PWD/scripts" "$PWD/agent.lua.example" "$stage/build"
unset MAKEFLAGS MFLAGS MAKEOVERRIDES
make -s -C packaging/openwrt/net/tidegate TOPDIR="$PWD/packaging/openwrt/ipk" INCLUDE_DIR="$PWD/packaging/openwrt/ipk" \
	PKG_BUILD_DIR="$stage/build" ROOT="$stage/root" ARCH="$arch" package

mv "$stage/root/CONTROL" "$stage/control"
size=$(find "$stage/root" -type f -printf '%s\n' | awk '{ sum += $1 } END { print sum }')
sed -i "s/@size@/$size/" "$stage/control/control"
pack "$stage/control" . >"$stage/ipk/control.tar.gz"
pack "$stage/root" . >"$stage/ipk/data.tar.gz"
echo 2.0 >"$stage/ipk/debian-binary"
name=$(sed -n 's/^Package: //p' "$stage/control/control")_$(sed -n 's/^Version: //p' "$stage/control/control")_$arch.ipk
pack "$stage/ipk" ./debian-binary ./data.tar.gz ./control.tar.gz >"$output/$name"
echo "$output/$name"
