#!/bin/sh
# Packs what is under version control, as it is now, into a tarball that builds by itself; in
# what came out of such a tarball, that. With it goes uPlot, which draws the page's charts, so
# that no npm is needed. The same files give the same bytes.
#
# usage: [UPLOT=DIRECTORY] packaging/dist.sh NAME-VERSION OUTPUT.tar.gz
set -eu
cd "$(dirname "$0")/.."
name=$1 output=$2
stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
mkdir "$stage/$name"

if [ -e .git ]; then
	date=$(git log -1 --format=%ct)
	git ls-files -z >"$stage/files"
else
	date=$(stat -c %Y Makefile)
	find . -path ./build -prune -o -path ./debian -prune -o -type f -printf '%P\0' >"$stage/files"
fi
tar --null --files-from="$stage/files" -cf - | tar -C "$stage/$name" -xf -
if [ -s "${UPLOT:-/nowhere}/LICENSE" ]; then
	mkdir -p "$stage/$name/agent/page/uplot"
	cp "$UPLOT"/LICENSE "$UPLOT"/uPlot.* "$stage/$name/agent/page/uplot"
else
	echo "note: without uPlot, the page of what is built from $output has no charts" >&2
fi
find "$stage/$name" -type f -printf "$name/%P\0" | LC_ALL=C sort -z |
	tar -C "$stage" --null --files-from=- --format=ustar --owner=0 --group=0 --numeric-owner \
		--mode=u+rw,go=rX --mtime="@${SOURCE_DATE_EPOCH:-$date}" -cf - | gzip -9n >"$output"
