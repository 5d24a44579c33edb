#!/bin/sh
# What an owner does to the Debian package, in a fresh chroot: install, start, upgrade with
# readings queued, remove, install again, purge; then a TLS gateway. And it is built twice, to the
# same bytes; the tarball, too. Needs root. Closes with "N passed, N failed".
#
# usage: packaging/test-deb.sh VERSION BUILD
set -eu
cd "$(dirname "$0")/.."
version=$1 build=$2
scratch=$(mktemp -d)
root=$scratch/root
pids=
trap 'kill $pids 2>/dev/null || :; abandon; umount "$root/proc" "$root/dev/shm" 2>/dev/null || :; rm -rf --one-file-system "$scratch"' EXIT
trap 'exit 1' INT TERM
. packaging/checks.sh
# shellcheck disable=SC2317 # until there are machines to abandon
abandon() { :; }

inside() { chroot "$root" env DEBIAN_FRONTEND=noninteractive "$@"; }
owned() { [ "$(inside stat -c '%U:%G %a' "$1")" = "$2" ] || { inside stat -c '%U:%G %a' "$1" && false; }; }
gone() { [ ! -e "$root$1" ]; }
there() { [ -e "$root$1" ]; }

# ---- built twice ----

packaging/deb.sh "$version" "$build/deb"
packaging/deb.sh "$version" "$scratch/again"
same() { cmp "$build/deb/$1" "$scratch/again/$1"; }
for file in "$build"/deb/*.deb "$build"/deb/*.tar.*; do
	check "the same bytes twice: ${file##*/}" same "${file##*/}"
done
tar -C "$scratch" -xzf "$build/deb/tidegate-$version.tar.gz"
check "the tarball makes itself again" make -s -C "$scratch/tidegate-$version" dist
check "the same bytes from the tarball" cmp "$build/deb/tidegate-$version.tar.gz" \
	"$scratch/tidegate-$version/build/tidegate-$version.tar.gz"

# ---- two packages, two brokers, a chroot ----

deb=$(ls "$build"/deb/tidegate_"$version"_*.deb)
dpkg-deb -R "$deb" "$scratch/newer"
sed -i 's/^Version: .*/&+newer/' "$scratch/newer/DEBIAN/control"
dpkg-deb -b "$scratch/newer" "$scratch/newer.deb" >/dev/null

release=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)
# shellcheck disable=SC2016 # apt's own placeholders
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' "Release: $release" | head -n 1)
depends=$(dpkg-deb -f "$deb" Depends | sed 's/ *([^)]*)//g; s/,/ /g')
mmdebstrap --quiet --variant=apt "$release" "$root" "deb $mirror $release main"
cp -a "$root" "$scratch/collector"
cp -a "$root" "$scratch/gateway"
inside apt-get -qq update
# shellcheck disable=SC2086 # names, several
inside apt-get -qq --no-install-recommends install $depends >"$scratch/apt.log" 2>&1
mount -t proc proc "$root/proc"
mount -t tmpfs tmpfs "$root/dev/shm"
cp "$deb" "$root/tmp/tidegate.deb"
cp "$scratch/newer.deb" "$root/tmp/newer.deb"

field=$((20000 + $$ % 20000)) core=$((20000 + $$ % 20000 + 1))
mosquitto -p $field >"$scratch/field.log" 2>&1 &
pids="$pids $!"

# As the unit would: its user, its directory.
start() {
	install -d -m 750 -o "$uid" -g "$gid" "$root/run/tidegate"
	chroot --userspec=tidegate:tidegate "$root" env TIDEGATE_FIELD=mqtt://127.0.0.1:$field \
		TIDEGATE_CORE=mqtt://127.0.0.1:$core TIDEGATE_RECONNECT=1s TIDEGATE_NAME=test-deb \
		/usr/bin/tidegate run -c /etc/tidegate/agent.lua >>"$scratch/agent.log" 2>&1 &
	agent=$!
	pids="$pids $agent"
	eventually status_says "$1"
}
stop() { kill "$agent" && wait "$agent"; }
status() { inside tidegate status -c /etc/tidegate/agent.lua; }
status_says() { status | grep -q "$1"; }

# ---- installed ----

check "the page has its charts" grep -q 'var uPlot' "$scratch/newer/usr/bin/tidegate"
check "installs" inside dpkg -i /tmp/tidegate.deb
uid=$(inside id -u tidegate) gid=$(inside id -g tidegate)
check "is enabled" [ -L "$root/etc/systemd/system/multi-user.target.wants/tidegate.service" ]
check "configuration is for root and the agent" owned /etc/tidegate "root:tidegate 750"
check "data is for the agent" owned /var/lib/tidegate "tidegate:tidegate 750"
check "the configuration is right" inside tidegate check -c /etc/tidegate/agent.lua
check "starts" start "link core: down"
mosquitto_pub -p $field -q 1 -t sensors/a -m reading
queued() { inside tidegate status --json -c /etc/tidegate/agent.lua | grep '"kind":"queue"' | grep '"link":"core"' | grep -q '"messages":1,'; }
check "queues a reading" eventually queued
check "stops" stop

# ---- upgraded ----

echo "-- an owner's line" >>"$root/etc/tidegate/agent.lua"
check "is upgraded" inside dpkg -i --force-confold /tmp/newer.deb
check "the owner's configuration is kept" grep -q "an owner's line" "$root/etc/tidegate/agent.lua"
mosquitto -v -p $core >"$scratch/core.log" 2>&1 &
pids="$pids $!"
eventually mosquitto_pub -p $core -t here -m here 2>"$scratch/out"
mosquitto_sub -p $core -t "test-deb/#" -C 1 -W 60 >"$scratch/delivered" 2>&1 &
listener=$!
check "a collector listens" eventually grep -q "Received SUBSCRIBE" "$scratch/core.log"
check "starts again" start "link "
wait $listener || :
check "what was queued before is delivered" grep -qx reading "$scratch/delivered"
check "stops again" stop

# ---- removed, purged ----

check "is removed" inside dpkg -r tidegate
check "and its program" gone /usr/bin/tidegate
check "data stays" there /var/lib/tidegate/queue.db
check "configuration stays" there /etc/tidegate/agent.lua
check "is installed again" inside dpkg -i /tmp/tidegate.deb
check "and has its data" there /var/lib/tidegate/queue.db
check "is purged" inside dpkg -P tidegate
check "data is gone" gone /var/lib/tidegate
check "configuration is gone" gone /etc/tidegate
check "and not enabled any more" gone /etc/systemd/system/multi-user.target.wants/tidegate.service

[ $failed -eq 0 ] || cat "$scratch/agent.log"

# ---- and from there to a TLS gateway ----

. packaging/test-deb-tls.sh
finish
