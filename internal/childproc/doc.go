// Package childproc runs programs for tests and tools: a child ends with the process
// that started it, also when that is killed, and is out of the terminal's reach, so
// that Ctrl-C is for the parent alone, which ends its children in order.
//
// It is not for children that end by themselves and are waited for at once: os/exec
// does that.
package childproc
