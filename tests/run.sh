#!/bin/sh
# Runs the unit tests and the specs and closes with `N passed, N failed`.
#
# usage: tests/run.sh UNIT-TEST-PROGRAM...
# TIDEGATE names the binary that the specs drive (build/tidegate). SPECS may name
# the spec files to run instead of all of tests/spec.
set -u
cd "$(dirname "$0")/.." || exit 1

passed=0
failed=0

# Adds the count that a test program printed last; one that printed none crashed.
add_unit() {
	line=$(grep -E '^[0-9]+ passed, [0-9]+ failed$' "$1" | tail -n 1)
	if [ -z "$line" ]; then
		failed=$((failed + 1))
		return
	fi
	passed=$((passed + ${line%% passed*}))
	count=${line#* passed, }
	failed=$((failed + ${count%% failed*}))
}

log=$(mktemp)
trap 'rm -f "$log"' EXIT
for program in "$@"; do
	echo "== $(basename "$program")"
	"$program" >"$log" 2>&1
	status=$?
	if [ $status -ne 0 ]; then
		cat "$log"
	else
		grep -E '^(figures: .*|[0-9]+ passed, [0-9]+ failed)$' "$log"
	fi
	add_unit "$log"
	# A sanitizer's report after the last test is a failure too.
	if [ $status -ne 0 ] && ! grep -qE '^[0-9]+ passed, [1-9][0-9]* failed$' "$log"; then
		failed=$((failed + 1))
	fi
done

echo "== specs"
# busted's own start-up script picks Lua 5.1 where that is installed, so name the interpreter.
counts=$(mktemp)
# shellcheck disable=SC2086 # a list of files
SPEC_COUNTS=$counts lua5.4 "$(command -v busted)" ${SPECS:+-r one} ${SPECS:-}
status=$?
read -r spec_passed spec_failed _ <"$counts" || spec_failed=1 spec_passed=0
rm -f "$counts"
if [ $status -ne 0 ] && [ "$spec_failed" -eq 0 ]; then
	spec_failed=1
fi
passed=$((passed + spec_passed))
failed=$((failed + spec_failed))

echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
