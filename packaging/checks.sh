# shellcheck shell=sh disable=SC2154
# What the tests of packages say, for them to source; $scratch is a directory of theirs.
passed=0 failed=0

# Runs the rest; says whether that was well.
check() {
	what=$1
	shift
	if "$@" >"$scratch/out" 2>&1; then
		echo "ok      $what"
		passed=$((passed + 1))
	else
		echo "FAILED  $what"
		tail -n 20 "$scratch/out" | sed 's/^/        /'
		failed=$((failed + 1))
	fi
}

# Tries for 15 seconds.
eventually() {
	tries=150
	until "$@"; do
		tries=$((tries - 1))
		[ $tries -gt 0 ] || return 1
		sleep 0.1
	done
}

finish() {
	echo "$passed passed, $failed failed"
	[ $failed -eq 0 ]
}
