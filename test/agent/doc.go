// Package agent tests the agent (cgo/agent) from outside: programs that nobody built for it
// run under `magellan heap run`, and `magellan heap dump --pid` has to tell the truth about
// them. It holds nothing but tests.
//
// The programs are in testdata, each a module of its own. stress makes stacks of Go and C in
// turns and counts them, so the profile can be compared with what was made. sqlite, zstd
// and kafka are services with the bindings of others, each with a leak to be found. host
// does what can be hard for an agent: it forks, changes its user, closes libraries, dies.
//
// The tests build magellan and the programs. With GOTOOLCHAIN, older releases of Go build
// the stress as well. A release that cannot be had is skipped, or fails with CI=true.
// MAGELLAN_STRESS_CALLS=1000000 makes each stress longer.
package agent
