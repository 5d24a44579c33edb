#!/bin/sh
# Builds the Debian package of what packaging/dist.sh packs, and asks lintian. The same
# files give the same bytes, wherever they are built.
#
# usage: packaging/deb.sh VERSION DIRECTORY (it is emptied; the package ends up there)
set -eu
cd "$(dirname "$0")/.."
version=$1 name=tidegate-$1

stated=$(dpkg-parsechangelog -l packaging/debian/changelog -S Version)
[ "$stated" = "$version" ] || { echo "packaging/debian/changelog says $stated, Makefile $version" >&2 && exit 1; }
rm -rf "$2"
mkdir -p "$2"
directory=$(cd "$2" && pwd)

# Of the changelog's date, that the package depends on nothing but the files.
SOURCE_DATE_EPOCH=$(dpkg-parsechangelog -l packaging/debian/changelog -S Timestamp)
export SOURCE_DATE_EPOCH
packaging/dist.sh "$name" "$directory/$name.tar.gz"
tar -C "$directory" -xzf "$directory/$name.tar.gz"
cp -r "$directory/$name/packaging/debian" "$directory/$name/debian"
cd "$directory/$name"
# Whatever make was told that started this is not the package's business.
unset MAKEFLAGS MFLAGS MAKEOVERRIDES MAKELEVEL CFLAGS CPPFLAGS LDFLAGS
DEB_BUILD_OPTIONS="parallel=2 ${DEB_BUILD_OPTIONS:-}" dpkg-buildpackage --unsigned-source --unsigned-changes \
	>"$directory/build.log" 2>&1 || { tail -n 40 "$directory/build.log" >&2 && exit 1; }
cd "$directory"
rm -r "$name"
lintian --fail-on error,warning tidegate_"$version"_*.changes
ls tidegate_"$version"_*.deb
