#!/bin/sh
# Packs what is under version control, as it is now, into a tarball that builds by itself; in
# what came out of such a tarball, that. The same files give the same bytes.
#
# usage: packaging/dist.sh NAME-VERSION OUTPUT.tar.gz
set -eu
cd "$(dirname "$0")/.."
name=$1 output=$2

if [ -e .git ]; then
	date=$(git log -1 --format=%ct)
	git ls-files -z >"$output.files"
else
	date=$(stat -c %Y Makefile)
	find . -path ./build -prune -o -path ./debian -prune -o -type f -printf '%P\0' >"$output.files"
fi
LC_ALL=C sort -z "$output.files" |
	tar --null --files-from=- --transform="s|^|$name/|" --format=ustar --owner=0 --group=0 --numeric-owner \
		--mode=u+rw,go=rX --mtime="@${SOURCE_DATE_EPOCH:-$date}" -cf - | gzip -9n >"$output"
rm "$output.files"
