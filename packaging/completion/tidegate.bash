# shellcheck shell=bash
# Completion for tidegate(1): commands, their words, options and files.

_tidegate_options() {
	case $1 in
	run) echo "-c -v --record" ;;
	check) echo "-c" ;;
	queue) echo "-c --all --json --limit --link" ;;
	status | reload | dead) echo "-c --json" ;;
	test) echo "-c -v --input --json --until --start" ;;
	replay) echo "-c --down --for --rtt --until --start --json" ;;
	kdb)
		case $2 in
		decode) echo "--json" ;;
		*) echo "--json --user --password --error --error-every" ;;
		esac
		;;
	esac
}

_tidegate_words() {
	case $1 in
	dead) echo "list show retry purge" ;;
	queue) echo "list show purge export" ;;
	kdb) echo "decode listen" ;;
	help) echo "check dead help kdb queue reload replay run status test version" ;;
	esac
}

_tidegate() {
	local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]} command=${COMP_WORDS[1]} words

	COMPREPLY=()
	if ((COMP_CWORD == 1)); then
		words=$(_tidegate_words help)
	elif [[ $previous == @(-c|--record|--input) ]]; then
		words=
	elif [[ $previous == @(--until|--start|--for|--rtt|--down|--link|--limit) ]]; then
		return
	elif [[ $previous == @(--user|--password|--error|--error-every) ]]; then
		return
	elif [[ $current == -* ]]; then
		words=$(_tidegate_options "$command" "${COMP_WORDS[2]}")
	elif ((COMP_CWORD == 2)); then
		words=$(_tidegate_words "$command")
	fi
	if [[ $words ]]; then
		mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
	else
		compopt -o filenames 2>/dev/null
		mapfile -t COMPREPLY < <(compgen -f -- "$current")
	fi
}

complete -F _tidegate tidegate
