#!/bin/sh
# Makes sure that what `make GROUP` needs is installed: asks dpkg what is missing
# and installs it with apt, as root or through sudo. Elsewhere it says exactly
# what to install and fails.
#
# usage: packaging/install-deps.sh build|test|lint|demo|bench|fleet|fuzz|interop|deb|test-deb|test-container|cross...
set -eu

packages_of() {
	case $1 in
	build) echo make gcc libc6-dev pkg-config liblua5.4-dev libmosquitto-dev libsqlite3-dev libssl-dev libjansson-dev libmicrohttpd-dev ;;
	demo) packages_of build && echo mosquitto lua5.4 lua-cjson lua-luv ;;
	test)
		packages_of demo && echo mosquitto-clients lua-busted lua-filesystem openssl sqlite3 strace iproute2 nftables prometheus \
			busybox libpaho-mqtt-dev systemd zsh
		command -v npm >/dev/null || echo nodejs npm # whoever packaged it
		[ "${CI:-}" != true ] || echo chromium # large; elsewhere its spec is pending
		;;
	lint)
		packages_of build && echo clang cppcheck libpaho-mqtt-dev lua-check mandoc shellcheck
		command -v npm >/dev/null || echo nodejs npm # it builds first, and the page keeps what it finds then
		;;
	bench) packages_of demo && echo libpaho-mqtt-dev python3 python3-paho-mqtt ;;
	fleet) # RabbitMQ itself is unpacked by make: installed, it would start a service
		packages_of demo && echo librabbitmq-dev erlang-base erlang-crypto erlang-eldap erlang-inets erlang-mnesia \
			erlang-os-mon erlang-parsetools erlang-public-key erlang-runtime-tools erlang-ssl erlang-syntax-tools \
			erlang-tools erlang-xmerl
		;;
	fuzz) packages_of build && echo clang libclang-rt-dev lua5.4 ;;
	deb)
		packages_of build && echo debhelper dpkg-dev lintian
		command -v npm >/dev/null || echo nodejs npm # for the page's charts
		;;
	interop)
		packages_of test && echo python3-paho-mqtt erlang-base erlang-crypto erlang-eldap erlang-inets erlang-mnesia \
			erlang-os-mon erlang-parsetools erlang-public-key erlang-runtime-tools erlang-ssl erlang-syntax-tools \
			erlang-tools erlang-xmerl
		command -v javac >/dev/null || echo default-jdk-headless
		command -v mvn >/dev/null || echo maven
		;;
	test-deb) packages_of deb && echo mmdebstrap mosquitto mosquitto-clients ;;
	test-container) echo buildah iproute2 mmdebstrap mosquitto mosquitto-clients ;;
	cross)
		packages_of build && echo mmdebstrap qemu-user-static
		echo gcc-arm-linux-gnueabihf libc6-dev-armhf-cross gcc-s390x-linux-gnu libc6-dev-s390x-cross
		;;
	*) echo "usage: $0 build|test|lint|demo|bench|fleet|fuzz|interop|deb|test-deb|test-container|cross..." >&2 && exit 64 ;;
	esac
}

missing_of() {
	for package in "$@"; do
		dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || echo "$package"
	done
}

wanted=
for group in "$@"; do
	wanted="$wanted $(packages_of "$group")"
done

if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
	# No Debian: trust what is there, the compiler will name what is not.
	echo "note: this is no Debian; needed (under Debian's names):$wanted" >&2
	exit 0
fi

# shellcheck disable=SC2086 # a list of words
missing=$(missing_of $wanted | sort -u | tr '\n' ' ')
[ -n "$missing" ] || exit 0

if [ "$(id -u)" = 0 ]; then
	as_root=
elif command -v sudo >/dev/null && { sudo -n true 2>/dev/null || [ -t 0 ]; }; then
	as_root=sudo
else
	echo "missing packages; install them as root and try again:" >&2
	echo "    apt-get install --no-install-recommends $missing" >&2
	exit 1
fi
echo "installing: $missing"
export DEBIAN_FRONTEND=noninteractive
# shellcheck disable=SC2086
$as_root apt-get -qq update
# shellcheck disable=SC2086
$as_root apt-get -qq install -y --no-install-recommends $missing >/dev/null
