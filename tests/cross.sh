#!/bin/sh
# Builds for a 32-bit machine (armhf) with Debian's cross compiler and runs the
# unit tests under qemu. The target's libraries come from the distribution's own
# mirror, unpacked below build/; nothing on this machine changes.
#
# usage: tests/cross.sh UNIT-TEST...
set -eu
cd "$(dirname "$0")/.."

architecture=armhf
triplet=arm-linux-gnueabihf
build=build/$architecture
sysroot=$PWD/build/sysroot-$architecture
libraries=libc6-dev,liblua5.4-dev,libmosquitto-dev,libsqlite3-dev,libssl-dev,libjansson-dev,libmicrohttpd-dev,libatomic1

# The mirror and release that this machine's own apt uses (the main suite: all that is needed).
release=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)
# shellcheck disable=SC2016 # apt's own placeholders
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' "Release: $release" | head -n 1)

if [ "$(cat "$sysroot/.complete" 2>/dev/null)" != "$libraries" ]; then
	rm -rf "$sysroot"
	mkdir -p build
	mmdebstrap --quiet --variant=extract --architectures=$architecture --include=$libraries \
		"$release" "$sysroot" "deb $mirror $release main"
	echo "$libraries" >"$sysroot/.complete"
fi

export PKG_CONFIG_LIBDIR="$sysroot/usr/lib/$triplet/pkgconfig:$sysroot/usr/share/pkgconfig"
export PKG_CONFIG_SYSROOT_DIR="$sysroot"
programs=
for test in "$@"; do
	programs="$programs $build/tests/$test"
done
# shellcheck disable=SC2086 # a list of files
make BUILD=$build CC="$triplet-gcc --sysroot=$sysroot" AR=$triplet-ar CFLAGS="-O2 -g -Werror" \
	LDFLAGS="-Wl,-rpath-link,$sysroot/usr/lib/$triplet" all $programs

run="qemu-arm-static -L $sysroot"
$run $build/tidegate version
status=0
for program in $programs; do
	echo "== $program"
	$run "$program" >"$program.log" 2>&1 || status=1
	tail -n 1 "$program.log"
done
exit $status
