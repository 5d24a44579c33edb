# shellcheck shell=dash disable=SC2034,SC2154,SC2317 # the init script uses and calls them; eval sets variables
# Stands in for what OpenWrt's rc.common gives an init script: UCI by functions, procd's functions
# and the commands start, stop and reload. What procd would be told goes to $RECORD.
#
# Not a UCI parser: it takes the form that `uci export` prints, which is shell with single quotes.
#
# usage: RECORD=FILE IPKG_INSTROOT=DIRECTORY sh rc.sh INIT-SCRIPT ACTION

# ---- configuration ----

reset_cb() {
	config_cb() { :; }
	option_cb() { :; }
	list_cb() { :; }
}
reset_cb

config() {
	unnamed=$((unnamed + 1))
	CONFIG_SECTION=${2:-$(printf 'cfg%02xabcd' $unnamed)}
	CONFIG_SECTIONS="$CONFIG_SECTIONS $CONFIG_SECTION"
	config_set "$CONFIG_SECTION" TYPE "$1"
	config_cb "$1" "$CONFIG_SECTION"
}

option() {
	config_set "$CONFIG_SECTION" "$1" "$2"
	option_cb "$1" "$2"
}

list() {
	config_get before "$CONFIG_SECTION" "$1_LENGTH" 0
	config_set "$CONFIG_SECTION" "$1_LENGTH" $((before + 1))
	config_set "$CONFIG_SECTION" "$1_ITEM$((before + 1))" "$2"
	config_get together "$CONFIG_SECTION" "$1"
	config_set "$CONFIG_SECTION" "$1" "${together:+$together }$2"
	list_cb "$1" "$2"
}

# Forgets what was there, as a second time may find less.
config_load() {
	for known in $(set | sed -n 's/^\(CONFIG_[A-Za-z0-9_]*\)=.*/\1/p'); do
		unset "$known"
	done
	[ -e "$IPKG_INSTROOT/etc/config/$1" ] || return 1
	# shellcheck source=/dev/null
	. "$IPKG_INSTROOT/etc/config/$1"
	[ -z "$CONFIG_SECTION" ] || config_cb
}

config_set() { eval "CONFIG_$1_$2=\$3"; }
config_get() { eval "$1=\${CONFIG_$2_$3:-\$4}"; }

config_get_bool() {
	config_get given "$2" "$3" "$4"
	case $given in
	1 | on | true | yes | enabled) eval "$1=1" ;;
	0 | off | false | no | disabled) eval "$1=0" ;;
	*) eval "$1=\$4" ;;
	esac
}

config_foreach() {
	for each in $CONFIG_SECTIONS; do
		config_get type_of_it "$each" TYPE
		[ "$type_of_it" != "$2" ] || "$1" "$each"
	done
}

config_list_foreach() {
	config_get items "$1" "$2_LENGTH" 0
	at=1
	while [ $at -le "$items" ]; do
		config_get item "$1" "$2_ITEM$at"
		"$3" "$item"
		at=$((at + 1))
	done
}

# ---- what is told ----

# A call in a line: its words in brackets.
record() {
	for word in "$@"; do
		printf '[%s]' "$word"
	done >>"$RECORD"
	echo >>"$RECORD"
}

for call in procd_open_instance procd_set_param procd_close_instance procd_add_jail procd_add_jail_mount \
	procd_add_jail_mount_rw procd_send_signal procd_add_reload_trigger procd_add_restart_mount_trigger logger chown; do
	eval "$call() { record $call \"\$@\"; }"
done

# ---- commands ----

start() {
	record start
	start_service
	status=$?
	service_triggers
	return $status
}

stop() { record stop; }

# shellcheck source=/dev/null
. "$1"
case $2 in
start) start ;;
reload) reload_service ;;
esac
