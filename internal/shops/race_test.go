//go:build race

package shops_test

const raceEnabled = true
