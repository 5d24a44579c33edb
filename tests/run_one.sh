#!/bin/sh
# Runs one unit test program or one spec file for tests/run.sh: says at its end what
# came of it, and leaves "passed failed" in a file of its own below $RESULTS. What is
# built for another machine has `run` beside it, which runs it here (tests/cross.sh).
set -u

name=$(basename "$1")
emulator=$(dirname "$1")/../run
log=$(mktemp) || exit 1
trap 'rm -f "$log"' EXIT

case $name in
*_spec.lua)
	# busted's own start-up script picks Lua 5.1 where that is installed, so name the interpreter.
	lua5.4 "$(command -v busted)" -r one "$1" >"$log" 2>&1
	status=$?
	;;
*)
	if [ -x "$emulator" ]; then
		name=$1
		"$emulator" "$1" >"$log" 2>&1
	else
		"$1" >"$log" 2>&1
	fi
	status=$?
	;;
esac

# The last such line counts; a program that printed none crashed.
counts=$(grep -E '^[0-9]+ passed, [0-9]+ failed' "$log" | tail -n 1 | sed 's/ passed, / /; s/ failed.*//')
passed=${counts% *}
failed=${counts#* }
# A sanitizer's report after the last test is a failure too.
if [ -z "$counts" ] || { [ $status -ne 0 ] && [ "$failed" -eq 0 ]; }; then
	failed=$((${failed:-0} + 1))
fi
echo "${passed:-0} $failed" >"$(mktemp "$RESULTS/XXXXXX")"

# In one piece, as another one may end now.
case $name:$status in
*_spec.lua:* | *:[1-9]*) shown=. ;;
*) shown='^(figures: .*|[0-9]+ passed, [0-9]+ failed)$' ;;
esac
printf '== %s\n%s\n' "$name" "$(grep -E "$shown" "$log")"
exit 0
