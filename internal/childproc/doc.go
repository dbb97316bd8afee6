// Package childproc runs programs for tests and tools: a child ends with the process
// that started it, also when that is killed, and is out of the terminal's reach, so
// that Ctrl-C is for the parent alone, which ends its children in order. If a child
// fails, the error contains the end of its output.
//
// It is not for commands that end at once, such as tools that print their version:
// os/exec does that.
package childproc
