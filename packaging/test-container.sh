#!/bin/sh
# Builds the container image on a base made here, and runs what is in it as an engine would: as its user,
# on a root that cannot be written, with a directory as its volume. No engine runs here; buildah builds.
# Needs root. Closes with "N passed, N failed".
#
# usage: packaging/test-container.sh VERSION TARBALL
set -eu
cd "$(dirname "$0")/.."
version=$1 tarball=$2
scratch=$(mktemp -d)
root=$scratch/root volume=$scratch/volume
pids=
network=tidegate-$$ # the health check has a port of its own
trap 'kill $pids 2>/dev/null || :; ip netns del $network 2>/dev/null || :; umount -R "$root" 2>/dev/null || :; rm -rf --one-file-system "$scratch"' EXIT
trap 'exit 1' INT TERM
. packaging/checks.sh

# buildah without what it wants of a kernel, its images in a directory of ours.
export BUILDAH_ISOLATION=chroot CONTAINERS_STORAGE_CONF="$scratch/storage.conf"
printf '[storage]\ndriver = "vfs"\ngraphroot = "%s/images"\nrunroot = "%s/run"\n' "$scratch" "$scratch" >"$CONTAINERS_STORAGE_CONF"

# ---- the image ----

release=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)
# shellcheck disable=SC2016 # apt's own placeholders
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' "Release: $release" | head -n 1)
mmdebstrap --quiet --variant=minbase "$release" "$scratch/base.tar" "deb $mirror $release main"
base=$(buildah from scratch)
buildah add --quiet "$base" "$scratch/base.tar" / >/dev/null
buildah commit --quiet "$base" base >/dev/null
check "builds" packaging/container.sh "$version" "$tarball" "$scratch/context" --build-arg BASE=localhost/base
[ $failed -eq 0 ] || { finish && exit; }

buildah inspect --type image "tidegate:$version" >"$scratch/inspect"
says() { buildah inspect --type image --format "{{.Docker.Config.$1}}" "tidegate:$version" | grep -Fqx -- "$2"; }
check "runs as its user" says User tidegate
check "in the place of its configuration" says WorkingDir /etc/tidegate
check "is run" says Entrypoint "[/usr/bin/tidegate]"
check "with its command" says Cmd "[run]"
check "has one volume" says Volumes "map[/var/lib/tidegate:{}]"
check "is stopped as it wants" says StopSignal SIGTERM
health=$(buildah inspect --type image --format '{{index .Docker.Config.Healthcheck.Test 3}}' "tidegate:$version")

# ---- a container ----

container=$(buildah from "tidegate:$version")
mkdir "$root" "$volume"
mount --bind "$(buildah mount "$container")" "$root"
cp -a "$root/var/lib/tidegate/." "$volume"
chown --reference="$root/var/lib/tidegate" "$volume"
chmod --reference="$root/var/lib/tidegate" "$volume"
mount -o remount,bind,ro "$root"
mount -t proc proc "$root/proc"
mount --bind /dev "$root/dev"
mount --bind "$volume" "$root/var/lib/tidegate"
ip netns add $network
ip -n $network link set lo up
# In the foreground: what it starts is a child of its own.
on_network() { ip netns exec $network "$@"; }
inside() { on_network chroot --userspec=9464:9464 "$root" "$@"; }
check "its root cannot be written" sh -c "! touch '$root/tmp/x' 2>/dev/null"

field=1883 core=1884
ip netns exec $network mosquitto -p $field >"$scratch/field.log" 2>&1 &
pids="$pids $!"

start() {
	ip netns exec $network env -i PATH=/usr/sbin:/usr/bin:/sbin TIDEGATE_FIELD=mqtt://127.0.0.1:$field \
		TIDEGATE_CORE=mqtt://127.0.0.1:$core TIDEGATE_RECONNECT=1s TIDEGATE_NAME=test-container \
		chroot --userspec=9464:9464 "$root" sh -c "cd /etc/tidegate && exec tidegate run" >>"$scratch/agent.log" 2>&1 &
	agent=$!
	pids="$pids $agent"
	eventually status_says "^test-container: .* up "
}
stop() { kill "$agent" && wait "$agent"; }
status() { inside sh -c "cd /etc/tidegate && tidegate status $1"; }
status_says() { status "" | grep -q "$1"; }
queued() { status --json | grep '"kind":"queue"' | grep '"link":"core"' | grep -q '"messages":1,'; }
healthy() { inside bash -c "$health"; }
unhealthy() { ! healthy; }

check "its configuration is its own" [ "$(stat -c '%g %a' "$root/etc/tidegate")" = "9464 750" ]
check "its configuration is right" inside sh -c "cd /etc/tidegate && tidegate check"
check "is not healthy before it runs" unhealthy
check "starts" start
check "is healthy, though the line is down" eventually healthy
on_network mosquitto_pub -p $field -q 1 -t sensors/a -m reading
check "queues a reading" eventually queued
check "stops" stop
check "is not healthy any more" unhealthy
check "its data is in the volume" test -s "$volume/queue.db"
ip netns exec $network mosquitto -v -p $core >"$scratch/core.log" 2>&1 &
pids="$pids $!"
eventually on_network mosquitto_pub -p $core -t here -m here 2>"$scratch/out"
ip netns exec $network mosquitto_sub -p $core -t "test-container/#" -C 1 -W 60 >"$scratch/delivered" 2>&1 &
listener=$!
eventually grep -q "Received SUBSCRIBE" "$scratch/core.log"
check "starts again" start
wait $listener || :
check "what was queued before is delivered" grep -qx reading "$scratch/delivered"
check "stops again" stop

[ $failed -eq 0 ] || cat "$scratch/agent.log"
finish
