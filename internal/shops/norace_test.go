//go:build !race

package shops

// RaceEnabled tells tests whether the race detector watches them.
const RaceEnabled = false
