# shellcheck shell=sh disable=SC2154
# "From a fresh Debian to a TLS gateway" (docs/install.md) as it stands there, and an outage; for
# packaging/test-deb.sh to source. Two chroots are the two machines: $scratch/gateway and
# $scratch/collector. In them apt and everything else is real, except for sudo, which root does not need,
# and systemctl, which does what the units say.

# The blocks below a heading of a document, with free ports for those in it.
blocks() {
	awk -v heading="$2" '
		/^```$/ { inside = 0 }
		inside && wanted
		/^```sh$/ { inside = 1 }
		!inside && /^#+ / { wanted = $0 ~ "^#+ " heading "$" }
	' "$1" | sed "s/8883/$tls/; s/1883/$sensors/; s/1884/$collectors/; s/9464/$http/"
}

# Does on a machine what stands below a heading.
follow() {
	{ echo "set -e; cd /root"; blocks "$2" "$3"; } >"$scratch/$1/root/follow.sh"
	[ "$(wc -l <"$scratch/$1/root/follow.sh")" -gt 1 ] && on "$1" sh /root/follow.sh
}

on() {
	machine=$1
	shift
	chroot "$scratch/$machine" env -i HOME=/root PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
		DEBIAN_FRONTEND=noninteractive "$@"
}

furnish() {
	mount -t proc proc "$1/proc"
	mount -t tmpfs tmpfs "$1/dev/shm"
	echo "127.0.0.1 localhost broker.example.com" >"$1/etc/hosts"
	printf '#!/bin/sh\nexec "$@"\n' >"$1/usr/local/bin/sudo"
	cat >"$1/usr/local/bin/systemctl" <<-'END'
		#!/bin/sh
		# systemctl stop|restart UNIT
		unit=/lib/systemd/system/$2.service pid=/run/$2.pid
		setting() { sed -n "s/^$1=//p" $unit; }
		if [ -e $pid ]; then
			kill "$(cat $pid)"
			tries=150
			while kill -0 "$(cat $pid)" && [ $((tries -= 1)) -gt 0 ]; do sleep 0.1; done 2>/dev/null
			rm $pid
		fi
		[ "$1" = restart ] || exit 0
		user=$(setting User)
		[ -z "$(setting RuntimeDirectory)" ] || install -d -m 750 -o $user -g $user /run/$(setting RuntimeDirectory)
		setting ExecStartPre | sh
		cd /
		umask "$(setting UMask | grep . || echo 022)"
		setpriv ${user:+--reuid $user --regid $user --init-groups --no-new-privs --bounding-set -all} \
			$(setting ExecStart) >>/var/log/$2.out 2>&1 &
		echo $! >$pid
	END
	chmod 755 "$1/usr/local/bin/sudo" "$1/usr/local/bin/systemctl"
}

abandon() {
	for machine in gateway collector; do
		for unit in tidegate mosquitto; do
			[ ! -e "$scratch/$machine/run/$unit.pid" ] || on "$machine" systemctl stop $unit || :
		done
		umount "$scratch/$machine/proc" "$scratch/$machine/dev/shm" || :
	done
} 2>/dev/null

links_up() { [ "$(on gateway tidegate status | grep -cE '^(core|field) +up ')" = 2 ]; }
link_down() { on gateway tidegate status | grep -q '^! link core: down'; }
waiting() { on gateway tidegate queue list | grep -q "^core: $1 messages,"; }
readings() { seq "$1" "$2" | on gateway mosquitto_pub -p $sensors -q 1 -t sensors/hall/temp -l; }
collected() { [ "$(sort -un "$scratch/collected" | wc -l)" = "$1" ]; }
# In their order; a repetition after the lost connection is allowed.
in_order() { seq 1 "$1" | cmp - "$scratch/first" && [ "$(wc -l <"$scratch/collected")" -lt $(($1 + 100)) ]; }
without_certificate() { on gateway mosquitto_pub -h broker.example.com -p $tls --cafile /root/ca.crt -t gw-01/x -m x; }
refused() { ! "$@"; }

sensors=$((core + 1)) tls=$((core + 2)) collectors=$((core + 3)) http=$((core + 4))
furnish "$scratch/collector"
furnish "$scratch/gateway"
cp "$deb" "$scratch/gateway/root/tidegate_0.1.0_amd64.deb"
blocks docs/tls.md "The certificates" | sed 's/localhost/broker.example.com/' >"$scratch/certificates.sh"
certificates() (mkdir "$scratch/authority" && cd "$scratch/authority" && sh -e ../certificates.sh)
check "certificates, as docs/tls.md makes them" certificates
(cd "$scratch/authority" && cp ca.crt server.crt server.key "$scratch/collector/root/" &&
	cp ca.crt gw-01.crt gw-01.key "$scratch/gateway/root/")
check "the collector's machine, as docs/install.md says" follow collector docs/install.md "The collector's machine"
check "the gateway, as docs/install.md says" follow gateway docs/install.md "The gateway"
check "both links are up" eventually links_up
check "nobody without a certificate gets in" refused without_certificate

on collector mosquitto_sub -p $collectors -i collector -c -q 1 -t 'gw-01/#' >"$scratch/collected" 2>/dev/null &
pids="$pids $!"
subscribed() { grep -q "as collector " "$scratch/collector/var/log/mosquitto/mosquitto.log"; }
check "a collector listens" eventually subscribed
check "readings are published" readings 1 50
check "and collected" eventually collected 50
check "the collector's broker is stopped" on collector systemctl stop mosquitto
check "which status says" eventually link_down
check "readings are published meanwhile" readings 51 500
check "and wait" eventually waiting 450
check "the gateway is stopped and started" on gateway systemctl restart tidegate
check "they still wait" eventually waiting 450
check "the collector's broker is started" on collector systemctl restart mosquitto
check "all are collected" eventually collected 500
awk '!seen[$0]++' "$scratch/collected" >"$scratch/first"
check "and in order" in_order 500
[ "$failed" -eq 0 ] || cat "$scratch/gateway/var/log/tidegate.out" "$scratch/collector/var/log/mosquitto/mosquitto.log"
abandon
