package alloctest

import "testing"

// Fewest runs f 200 times and returns how many allocations the cheapest of these runs made.
// It is 0 if f allocates only where a pool or a buffer has to be filled again, so Fewest does
// not see what f allocates now and then. While Fewest runs, GOMAXPROCS is 1; no other test
// may run in parallel.
func Fewest(f func()) int {
	fewest := int(testing.AllocsPerRun(1, f))
	for range 99 {
		fewest = min(fewest, int(testing.AllocsPerRun(1, f)))
	}
	return fewest
}
