// Command pure has no C code, so the agent has nothing to do in it. It writes its process
// number to a file and waits for a signal.
package main

import (
	"os"
	"strconv"
)

func main() {
	file := os.Args[1]
	if os.WriteFile(file+".new", []byte(strconv.Itoa(os.Getpid())), 0o644) != nil || os.Rename(file+".new", file) != nil {
		os.Exit(1)
	}
	// Without other goroutines an empty select would be a deadlock.
	r, _, err := os.Pipe()
	if err != nil {
		os.Exit(1)
	}
	_, _ = r.Read(make([]byte, 1))
}
