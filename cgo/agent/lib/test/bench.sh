#!/usr/bin/env bash
# Prints the speed of malloc and free with the library, as a ratio to the speed without it:
# the median of several rounds that alternate. Usage: bench.sh LIBRARY PROGRAM [ROUNDS]
set -euo pipefail
library=$1 program=$2 rounds=${3:-9}

for _ in $(seq "$rounds"); do
	plain=$("$program")
	on=$(LD_PRELOAD=$library "$program" 524288)
	off=$(LD_PRELOAD=$library "$program" 0)
	echo "$plain $on $off"
done | awk '
	function median(a, n,  i, j, t) {
		for (i = 1; i <= n; i++) for (j = i + 1; j <= n; j++) if (a[j] < a[i]) { t = a[i]; a[i] = a[j]; a[j] = t }
		return a[int((n + 1) / 2)]
	}
	{ n++; for (k = 1; k <= 3; k++) { plain[k, n] = $k; on[k, n] = $k / $(3 + k); off[k, n] = $k / $(6 + k) } }
	function column(from, k,  i, a) { for (i = 1; i <= n; i++) a[i] = from[k, i]; return median(a, n) }
	END {
		split("small mixed written", name, " ")
		for (k = 1; k <= 3; k++)
			printf "%s: %.1f ns, on %.3f, off %.3f\n", name[k], column(plain, k), column(on, k), column(off, k)
	}'
