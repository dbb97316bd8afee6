// Command leaky holds memory of C, and more of it as time goes on. It is what tests of the
// agent look at.
//
//	leaky FILE     writes its process number to FILE and runs until SIGTERM, then exits with 7
//	leaky          prints what its environment has of the agent
package main

/*
#include <stdlib.h>
#include <string.h>

static void *hold(size_t n) {
	void *p = malloc(n);
	return memset(p, 1, n);
}
*/
import "C"

import (
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"
)

//go:noinline
func leak(n int) {
	for range n {
		C.hold(10000)
	}
}

func main() {
	if len(os.Args) < 2 {
		printEnvironment()
		return
	}
	leak(1000)
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	// Renamed, so that whoever finds the file finds the number in it.
	file := os.Args[1]
	err := os.WriteFile(file+".new", []byte(strconv.Itoa(os.Getpid())), 0o644)
	if err == nil {
		err = os.Rename(file+".new", file)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	tick := time.NewTicker(10 * time.Millisecond)
	for {
		select {
		case <-tick.C:
			leak(10)
		case <-stop:
			os.Exit(7)
		}
	}
}

func printEnvironment() {
	for _, v := range os.Environ() {
		if strings.HasPrefix(v, "LD_PRELOAD") || strings.HasPrefix(v, "MAGELLAN_AGENT") {
			fmt.Println(v)
		}
	}
	files, _ := os.ReadDir("/proc/self/fd")
	for _, f := range files {
		if path, err := os.Readlink("/proc/self/fd/" + f.Name()); err == nil && strings.HasPrefix(path, "/memfd:") {
			fmt.Println(path)
		}
	}
}
