#!/bin/sh
# Runs the unit tests and the specs, three files at a time, and closes with
# `N passed, N failed`. What a file says is shown when it has ended. Most of their time
# they wait: three keep two cores busy.
#
# usage: tests/run.sh UNIT-TEST-PROGRAM...
# TIDEGATE names the binary that the specs drive (build/tidegate). SPECS may name
# the spec files to run instead of all of tests/spec; JOBS, how many at a time;
# RESULTS, a directory: the closing line counts what earlier runs have left there, too.
set -u
cd "$(dirname "$0")/.." || exit 1

if [ -z "${RESULTS:-}" ]; then
	RESULTS=$(mktemp -d) || exit 1 # what each file adds: "passed failed"
	export RESULTS
	trap 'rm -rf "$RESULTS"' EXIT
fi

# shellcheck disable=SC2086 # a list of files
printf '%s\n' "$@" ${SPECS:-tests/spec/*_spec.lua} | grep . |
	xargs -P "${JOBS:-3}" -n 1 tests/run_one.sh
failed=$(($? != 0)) # one that was killed left no counts
passed=0
for counts in "$RESULTS"/*; do
	read -r more_passed more_failed <"$counts" || more_passed=0 more_failed=1
	passed=$((passed + more_passed))
	failed=$((failed + more_failed))
done
echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
