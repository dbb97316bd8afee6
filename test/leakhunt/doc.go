// Command leakhunt lets magellan leak, for real, and looks whether it notices.
//
// It starts a ZooKeeper and three magellans beside each other, under load, for
// minutes: two were built with a leak in them (see internal/zk/leakvector_on.go
// and cmd/magellan/internal/leak), the third has none. It asks each for
// /admin/jeprof/leaks, as an operator would, and wants
//
//   - of those that leak, that the first suspect is the stack that leaks, with
//     file and line;
//   - of the one that does not, under the same requests, no suspect at any time.
//
// What it sees on the way, resident memory above all, is written to a file that
// test/leakhunt/plot.gp draws. test/leakhunt/run.sh builds what is needed and
// starts it.
package main
