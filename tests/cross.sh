#!/bin/sh
# Tests on machines unlike this one: armhf has 32 bits and unsigned chars, s390x is
# big-endian. Built with Debian's cross compilers, run under qemu; the machines' libraries
# come from the distribution's own mirror, unpacked below build/. Nothing here changes.
#
# usage: tests/cross.sh sysroots           unpacks the libraries that are not there yet
#        tests/cross.sh test UNIT-TEST...  runs these and tests/cross/machines_spec.lua
# MACHINES names others than those two: one of them, or mipsel.
set -eu
cd "$(dirname "$0")/.."

MACHINES=${MACHINES:-armhf s390x}
libraries=libc6-dev,liblua5.4-dev,libmosquitto-dev,libsqlite3-dev,libssl-dev,libjansson-dev,libmicrohttpd-dev,libatomic1

triplet_of() {
	case $1 in
	armhf) echo arm-linux-gnueabihf ;;
	mipsel | s390x) echo "$1-linux-gnu" ;;
	*) echo "$0: no machine $1" >&2 && exit 64 ;;
	esac
}

emulator_of() {
	case $1 in
	armhf) echo qemu-arm-static ;;
	*) echo "qemu-$1-static" ;;
	esac
}

# From the mirror and release that this machine's own apt uses (the main suite: all that is needed).
sysroot() {
	release=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)
	# shellcheck disable=SC2016 # apt's own placeholders
	mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' "Release: $release" | head -n 1)
	rm -rf "$2"
	mkdir -p build
	mmdebstrap --quiet --variant=extract --architectures="$1" --include=$libraries \
		"$release" "$2" "deb $mirror $release main"
	# qemu looks here first: /dev, /run and /tmp are to be this machine's.
	find "$2" -mindepth 1 -maxdepth 1 ! -name usr ! -name 'lib*' -exec rm -rf {} +
	echo "$libraries" >"$2/.complete"
}

build() {
	machine=$1
	sysroot=$PWD/build/sysroot-$machine
	triplet=$(triplet_of "$machine")
	shift
	mkdir -p "build/$machine"
	printf '#!/bin/sh\nexec %s -L %s "$@"\n' "$(emulator_of "$machine")" "$sysroot" >"build/$machine/run"
	chmod +x "build/$machine/run"
	# shellcheck disable=SC2046 # a list of files
	PKG_CONFIG_LIBDIR="$sysroot/usr/lib/$triplet/pkgconfig:$sysroot/usr/share/pkgconfig" \
		PKG_CONFIG_SYSROOT_DIR="$sysroot" MAKEFLAGS='' \
		make --no-print-directory -j"$(nproc)" BUILD="build/$machine" \
		CC="$triplet-gcc --sysroot=$sysroot" AR="$triplet-ar" \
		CFLAGS="-O2 -g -Werror" LDFLAGS="-Wl,-rpath-link,$sysroot/usr/lib/$triplet" \
		all $(printf "build/$machine/tests/%s " "$@")
}

what=$1
shift
case $what in
sysroots)
	for machine in $MACHINES; do
		path=$PWD/build/sysroot-$machine
		[ "$(cat "$path/.complete" 2>/dev/null)" = "$libraries" ] || sysroot "$machine" "$path"
	done
	;;
test)
	programs=
	for machine in $MACHINES; do
		build "$machine" "$@"
		programs="$programs $(printf "build/$machine/tests/%s " "$@")"
	done
	export MACHINES
	# shellcheck disable=SC2086 # a list of files
	SPECS=tests/cross/machines_spec.lua tests/run.sh $programs
	;;
*) echo "usage: $0 sysroots | test UNIT-TEST..." >&2 && exit 64 ;;
esac
