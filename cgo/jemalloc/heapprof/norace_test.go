//go:build !race

package heapprof

const raceEnabled = false
