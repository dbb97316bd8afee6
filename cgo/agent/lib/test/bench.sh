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
	{ n++; s_on[n] = $1/$3; m_on[n] = $2/$4; s_off[n] = $1/$5; m_off[n] = $2/$6; s[n] = $1; m[n] = $2 }
	END {
		printf "small: %.1f ns, on %.3f, off %.3f\n", median(s, n), median(s_on, n), median(s_off, n)
		printf "mixed: %.1f ns, on %.3f, off %.3f\n", median(m, n), median(m_on, n), median(m_off, n)
	}'
