# shellcheck shell=dash
# shellcheck disable=SC2086,SC2154,SC2317 # lists are words; config_get sets variables; config_load calls back
# agent.lua out of /etc/config/tidegate, for the init script.
#
# An option becomes the key of its name. The lists say where the key stands and what kind of value it
# takes; a value is quoted and never interpreted, and whether it makes sense is for `tidegate check`
# to say. What the agent may see of the file system follows from the same options.

# KIND:KEY, or KIND:KEY=OPTION where the option's name differs.
TIDEGATE_TOP="text:name text:http"
TIDEGATE_STORE="place:path=store text:durability duration:linger"
TIDEGATE_LIMITS="size:memory duration:call size:state"
TIDEGATE_LOG="text:level=log_level text:target=log_target"
TIDEGATE_LINK="bool:default text:client_id text:username text:password file:password=password_file text:version
	bool:clean_session duration:session_expiry duration:keepalive number:receive_maximum number:window
	duration:ack_timeout text:socks5 text:bind text:ack_topic number:ack_window"
TIDEGATE_QUEUE="size:max_bytes number:max_messages duration:ttl text:overflow text:order number:rate"
TIDEGATE_RECONNECT="duration:min=reconnect_min duration:max=reconnect_max"
TIDEGATE_TLS="path:ca path:capath path:cert path:key text:key_password text:ciphers text:version=tls_version text:alpn
	text:psk text:identity bool:insecure bool:verify_host"
TIDEGATE_WILL="text:topic=will_topic text:payload=will_payload number:qos=will_qos bool:retain=will_retain"
TIDEGATE_BIRTH="text:topic=birth_topic text:payload=birth_payload number:qos=birth_qos bool:retain=birth_retain"

# Not keys of agent.lua, or lists.
TIDEGATE_AGENT_ONLY="enabled config jail"
TIDEGATE_AGENT_LISTS="script jail_mount jail_mount_rw"
TIDEGATE_LINK_LISTS="url subscribe"

TIDEGATE_ETC=$IPKG_INSTROOT/etc/tidegate
TIDEGATE_RUN=$IPKG_INSTROOT/var/run/tidegate
TIDEGATE_MADE=$IPKG_INSTROOT/var/etc/tidegate # agent.lua, and in a file "jail" what goes with it
TIDEGATE_SETTLED=$TIDEGATE_MADE/jail
TIDEGATE_CR=$(printf '\r')
TIDEGATE_LF='
'

# ---- what is there ----

tidegate_problem() {
	logger -s -t tidegate -p daemon.err "/etc/config/tidegate: $*"
	TIDEGATE_PROBLEMS=1
}

# The names of the options in lists such as those above.
tidegate_options() {
	local spec

	for spec in "$@"; do
		spec=${spec#*:}
		printf ' %s ' "${spec#*=}"
	done
}

# Called by config_load, section by section and option by option.
tidegate_section() {
	section=$2
	case $1 in
	agent) options=$agent_options lists=" $TIDEGATE_AGENT_LISTS " ;;
	link) options=$link_options lists=" $TIDEGATE_LINK_LISTS " ;;
	"") return 0 ;;
	*) options="*" lists="*" && tidegate_problem "unknown section '$1'" ;;
	esac
	case $1/$2 in
	agent/agent) ;;
	agent/*) tidegate_problem "'$2' instead of 'agent' as the agent's section" ;;
	link/cfg[0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f]) tidegate_problem "a link without a name" ;;
	esac
}

tidegate_known() { # OPTION THOSE-KNOWN COMPLAINT
	case $2 in
	*" $1 "* | "*"*) ;;
	*) tidegate_problem "$section: $3 '$1'" ;;
	esac
}

# Reads the file, and says which names in it mean nothing.
tidegate_load() {
	local section options lists agent_options link_options type

	TIDEGATE_PROBLEMS=
	agent_options="$(tidegate_options $TIDEGATE_TOP $TIDEGATE_STORE $TIDEGATE_LIMITS $TIDEGATE_LOG) $TIDEGATE_AGENT_ONLY "
	link_options=$(tidegate_options $TIDEGATE_LINK $TIDEGATE_QUEUE $TIDEGATE_RECONNECT $TIDEGATE_TLS $TIDEGATE_WILL \
		$TIDEGATE_BIRTH)
	config_cb() { tidegate_section "$@"; }
	option_cb() { tidegate_known "$1" "$options$lists" "unknown option"; }
	list_cb() { tidegate_known "$1" "$lists" "no list expected:"; }
	config_load tidegate
	reset_cb
	config_get type agent TYPE
	[ "$type" = agent ] || tidegate_problem "no section: config agent 'agent'"
}

tidegate_enabled() {
	local on

	config_get_bool on agent enabled 0
	[ "$on" = 1 ]
}

tidegate_jailed() {
	local on

	config_get_bool on agent jail 1
	[ "$on" = 1 ]
}

tidegate_default() { # SECTION OPTION VALUE
	local value

	config_get value "$1" "$2"
	[ -n "$value" ] || config_set "$1" "$2" "$3"
}

# Calls it with each value of a list, or with the one of an option.
tidegate_each() { # SECTION OPTION FUNCTION
	local value count

	config_get count "$1" "$2_LENGTH"
	config_get value "$1" "$2"
	if [ -n "$count" ]; then
		config_list_foreach "$1" "$2" "$3"
	elif [ -n "$value" ]; then
		"$3" "$value"
	fi
}

# ---- as Lua ----

tidegate_string() {
	case $1 in
	*[\"\\]* | *"$TIDEGATE_CR"* | *"$TIDEGATE_LF"*)
		# The dot keeps line ends at the end.
		printf '"'
		printf '%s.' "$1" | sed -e 's/[\\"]/\\&/g' -e "s/$TIDEGATE_CR/\\\\r/g" -e '$!s/$/\\/' -e '$s/\.$//'
		printf '"'
		;;
	*) printf '"%s"' "$1" ;;
	esac
}

tidegate_absolute() {
	case $1 in
	*[[:space:]]*) return 1 ;;
	/*) ;;
	*) return 1 ;;
	esac
}

# Prints it, unless it is no such value.
tidegate_value() { # KIND VALUE
	case $1/$2 in
	text/*) tidegate_string "$2" ;;
	bool/1 | bool/on | bool/true | bool/yes | bool/enabled) printf true ;;
	bool/0 | bool/off | bool/false | bool/no | bool/disabled) printf false ;;
	number/*[!0-9.]* | number/*.*.* | number/.) return 1 ;;
	number/*) printf '%s' "$2" ;;
	duration/*[!0-9]* | size/*[!0-9]*) tidegate_string "$2" ;;
	duration/* | size/*) printf '%s' "$2" ;;
	path/* | file/* | place/*)
		tidegate_absolute "$2" || return 1
		[ "$1" = place ] || reads="$reads $2"
		[ "$1" != file ] || printf 'file('
		tidegate_string "$2"
		[ "$1" != file ] || printf ')'
		;;
	*) return 1 ;;
	esac
}

tidegate_expected() { # KIND
	case $1 in
	bool) echo "1 or 0" ;;
	number) echo "a number" ;;
	*) echo "an absolute path without blanks" ;;
	esac
}

tidegate_keys() { # INDENT SECTION KIND:KEY...
	local indent=$1 owner=$2 spec key value

	shift 2
	for spec in "$@"; do
		key=${spec#*:}
		config_get value "$owner" "${key#*=}"
		[ -n "$value" ] || continue
		printf '%s%s = ' "$indent" "${key%%=*}"
		tidegate_value "${spec%%:*}" "$value" ||
			tidegate_problem "$owner: ${key#*=}: expected $(tidegate_expected "${spec%%:*}"), got '$value'"
		printf ',\n'
	done
}

tidegate_table() { # INDENT NAME SECTION KIND:KEY...
	local indent=$1 name=$2 owner=$3 option value

	shift 3
	for option in $(tidegate_options "$@"); do
		config_get value "$owner" "$option"
		[ -z "$value" ] || break
	done
	[ -n "$value" ] || return 0
	printf '%s%s = {\n' "$indent" "$name"
	tidegate_keys "$indent	" "$owner" "$@"
	printf '%s},\n' "$indent"
}

tidegate_item() {
	tidegate_string "$1"
	printf ', '
}

tidegate_script() {
	tidegate_absolute "$1" || tidegate_problem "agent: script: expected $(tidegate_expected path), got '$1'"
	tidegate_item "$1"
}

tidegate_list() { # INDENT NAME SECTION OPTION [FUNCTION]
	printf '%s%s = { ' "$1" "$2"
	tidegate_each "$3" "$4" "${5:-tidegate_item}"
	printf '},\n'
}

tidegate_link() {
	local owner=$1 urls filters secret secret_file

	config_get urls "$owner" url
	config_get filters "$owner" subscribe
	config_get secret "$owner" password
	config_get secret_file "$owner" password_file
	[ -z "$secret" ] || [ -z "$secret_file" ] || tidegate_problem "$owner: password and password_file, expected one"
	tidegate_default "$owner" max_bytes 16MB
	printf '\t\t%s = {\n' "[\"$owner\"]"
	[ -z "$urls" ] || tidegate_list '			' urls "$owner" url
	[ -z "$filters" ] || tidegate_list '			' subscribe "$owner" subscribe
	tidegate_keys '			' "$owner" $TIDEGATE_LINK
	tidegate_table '			' tls "$owner" $TIDEGATE_TLS
	tidegate_table '			' reconnect "$owner" $TIDEGATE_RECONNECT
	tidegate_table '			' queue "$owner" $TIDEGATE_QUEUE
	tidegate_table '			' will "$owner" $TIDEGATE_WILL
	tidegate_table '			' birth "$owner" $TIDEGATE_BIRTH
	printf '\t\t},\n'
}

tidegate_generate() {
	echo "-- Made from /etc/config/tidegate at each start and reload: what is changed here is lost."
	echo "return {"
	tidegate_keys '	' agent $TIDEGATE_TOP
	echo "	links = {"
	config_foreach tidegate_link link
	echo "	},"
	tidegate_list '	' scripts agent script tidegate_script
	tidegate_table '	' store agent $TIDEGATE_STORE
	tidegate_table '	' limits agent $TIDEGATE_LIMITS
	tidegate_table '	' log agent $TIDEGATE_LOG
	printf '\tcontrol = "%s/control.sock",\n' "$TIDEGATE_RUN"
	echo "}"
}

# ---- into place ----

# A file is seen by the directory that it is in: what replaces it is another file.
tidegate_readable() {
	case $1 in
	/*/*) echo "ro ${1%/*}" ;;
	*) echo "ro $1" ;;
	esac
}

tidegate_mount_ro() { echo "ro $1"; }
tidegate_mount_rw() { echo "rw $1"; }

# What a jail has to hold, and which configuration is for it.
tidegate_places() { # CONFIG
	local path

	echo "config $1"
	{
		tidegate_readable "$1"
		echo "ro $TIDEGATE_ETC"
		for path in $reads; do
			tidegate_readable "$path"
			[ ! -d "$path" ] || echo "ro $path"
		done
		tidegate_each agent script tidegate_readable
		for path in /usr/share/tidegate /usr/lib/libmicrohttpd.so.12 /etc/ssl /etc/hosts /etc/TZ; do
			echo "ro $path"
		done
		tidegate_each agent jail_mount tidegate_mount_ro
		echo "rw $TIDEGATE_RUN"
		echo "rw $TIDEGATE_STORE_DIRECTORY"
		echo "rw /dev/shm"
		tidegate_each agent jail_mount_rw tidegate_mount_rw
	} | sort -u
}

# Asks the agent about a configuration; its answers are logged.
tidegate_check() { # FILE
	local answer

	answer=$("$IPKG_INSTROOT/usr/bin/tidegate" check -c "$1" 2>&1) && return 0
	printf '%s\n' "$answer" | while read -r line; do
		logger -s -t tidegate -p daemon.err "$line"
	done
	return 1
}

# Says which mount of /etc/config/fstab a directory is on, if that is not there yet. In a shell of
# its own, for config_load.
tidegate_awaited() ( # DIRECTORY
	wanted() {
		config_get_bool on "$1" enabled 0
		config_get target "$1" target
		case $on/$directory/ in
		"1/${target%/}/"*) grep -q " ${target%/} " /proc/mounts || echo "${target%/}" ;;
		esac
	}
	directory=$1
	config_load fstab 2>/dev/null
	config_foreach wanted mount
)

# The queue's directory is made, but not in the place of a stick that is not plugged in. One that is
# there already keeps its owner.
tidegate_make_store() { # FILE
	case ${1#"$IPKG_INSTROOT"} in
	/var/* | /tmp/*) logger -s -t tidegate -p daemon.warn "$1 is in memory: a reboot loses what waits" ;;
	esac
	TIDEGATE_STORE_DIRECTORY=${1%/*}
	TIDEGATE_AWAITED=$(tidegate_awaited "$TIDEGATE_STORE_DIRECTORY")
	if [ -n "$TIDEGATE_AWAITED" ]; then
		logger -s -t tidegate "waiting for $TIDEGATE_AWAITED to be mounted"
		return 1
	fi
	[ -d "$TIDEGATE_STORE_DIRECTORY" ] && return 0
	mkdir -p "$TIDEGATE_STORE_DIRECTORY" && chmod 750 "$TIDEGATE_STORE_DIRECTORY" &&
		chown tidegate:tidegate "$TIDEGATE_STORE_DIRECTORY"
}

# Whatever is in /etc/tidegate is for the agent and its owners.
tidegate_make_directories() {
	mkdir -p "$TIDEGATE_ETC/scripts" "$TIDEGATE_RUN" "$TIDEGATE_MADE" &&
		chown -hR root:tidegate "$TIDEGATE_ETC" && chmod -R g+rX,o= "$TIDEGATE_ETC" &&
		chown root:tidegate "$TIDEGATE_MADE" && chmod 750 "$TIDEGATE_MADE" "$TIDEGATE_RUN" &&
		chown tidegate:tidegate "$TIDEGATE_RUN"
}

# Makes agent.lua and whatever it needs, all of it or nothing. For the commands, /etc/tidegate/agent.lua
# is a link to it, unless there is a file.
tidegate_prepare() {
	local store own config reads=

	tidegate_default agent store "$IPKG_INSTROOT/srv/tidegate/queue.db"
	tidegate_default agent script "$TIDEGATE_ETC/scripts/*.lua"
	tidegate_default agent log_target syslog
	config_get store agent store
	config_get own agent config
	tidegate_absolute "$store" || { tidegate_problem "agent: store: expected $(tidegate_expected place)" && return 1; }
	tidegate_make_directories && tidegate_make_store "$store" || return 1
	config=${own:-$TIDEGATE_MADE/agent.lua}
	if [ -z "$own" ]; then
		(umask 077 && : >"$config.new") && tidegate_generate >"$config.new" &&
			chown root:tidegate "$config.new" && chmod 640 "$config.new"
		[ -z "$TIDEGATE_PROBLEMS" ] && tidegate_check "$config.new" || return 1
	else
		[ -z "$TIDEGATE_PROBLEMS" ] && tidegate_check "$own" || return 1
	fi
	tidegate_places "$config" >"$TIDEGATE_SETTLED.new" && mv "$TIDEGATE_SETTLED.new" "$TIDEGATE_SETTLED" || return 1
	[ -n "$own" ] || mv "$config.new" "$config" || return 1
	# A link that leads nowhere is ours, of before the reboot.
	[ -e "$TIDEGATE_ETC/agent.lua" ] || [ -h "$TIDEGATE_ETC/agent.lua" ] ||
		ln -s "$TIDEGATE_MADE/agent.lua" "$TIDEGATE_ETC/agent.lua"
}
