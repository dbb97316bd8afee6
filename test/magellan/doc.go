// Package magellan starts `magellan serve` as a child process, for the programs that
// measure and torture it. It does not build magellan.
package magellan
