// Package childproc runs programs for tests and tools. When the process that started a
// child ends, the kernel kills the child, also if the parent was killed itself. A child
// is in a process group of its own: Ctrl-C reaches the parent only, which then ends its
// children in order. If a child fails, the error contains the end of its output.
//
// Use os/exec for commands that end at once, such as tools that print their version.
package childproc
