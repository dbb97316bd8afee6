//go:build race

package heapprof

// raceEnabled: the race detector multiplies time and memory.
const raceEnabled = true
