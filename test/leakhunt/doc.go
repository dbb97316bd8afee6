// Command leakhunt lets magellan leak, for real, and looks whether it notices.
//
// It starts a ZooKeeper and three magellans beside each other, under load, for
// minutes: two were built with a leak (test/leaks), the third has none. It asks each for
// /admin/jeprof/leaks, as an operator would, and fails unless
//
//   - for each one that leaks, the first suspect is the stack that leaks, with
//     file and line;
//   - for the one without a leak, under the same requests, there is never a suspect.
//
// What it sees on the way, resident memory above all, is written to a file that
// test/leakhunt/plot.gp draws. test/leakhunt/run.sh builds what is needed and
// starts it.
package main
