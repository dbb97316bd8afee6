// Command leaks adds leaks of C memory to magellan, so that heap profiles can be tested
// on them:
//
//	go -C test run ./leaks DIR LEAK...
//
// writes an overlay for `go build -overlay` into DIR, and prints the name of its file.
// If build/build.sh gets that name, it builds a magellan with these leaks, whose version
// names them. test/leaks/build.sh does both steps. The code of the leaks is in testdata,
// and docs/finding-a-leak.md describes them.
package main

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"magellan/test/overlay"
)

// leaks are the leaks by name, as changes of magellan's sources.
var leaks = map[string]overlay.Change{
	"leakvector": {
		Edits: []overlay.Edit{{
			File: "internal/zk/async.go",
			From: "\tr := request{op: opGet, path: path, a: flag(watch)}\n",
			To:   "\tc.leakVector(path)\n\tr := request{op: opGet, path: path, a: flag(watch)}\n",
		}},
		Added: sources("leakvector", "internal/zk"),
	},
	"leakhandler": {
		Edits: []overlay.Edit{{
			File: "cmd/magellan/serve.go",
			From: "shops.Config{Reader: reader,",
			To:   "shops.Config{Reader: leakingReader{reader},",
		}},
		Added: sources("leakhandler", "cmd/magellan"),
	},
}

// sources are the files that a leak adds to the package in dir.
func sources(leak, dir string) map[string]string {
	added := map[string]string{}
	for _, kind := range []string{".go", ".c", ".h"} {
		added[dir+"/"+leak+kind] = "test/leaks/testdata/" + leak + "/" + leak + kind
	}
	return added
}

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintf(os.Stderr, "usage: leaks DIR LEAK..., in the folder test; the leaks are %s\n", strings.Join(names(), " and "))
		os.Exit(2)
	}
	file, err := write("..", os.Args[1], os.Args[2:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "leaks:", err)
		os.Exit(1)
	}
	fmt.Println(file)
}

func names() []string { return slices.Sorted(maps.Keys(leaks)) }

// write writes an overlay for the repository at root into dir. Its file is named after the
// leaks.
func write(root, dir string, wanted []string) (file string, err error) {
	var changes []overlay.Change
	for _, name := range wanted {
		change, ok := leaks[name]
		if !ok {
			return "", fmt.Errorf("there is no leak %q", name)
		}
		changes = append(changes, change)
	}
	return overlay.Write(root, dir, strings.Join(wanted, "+")+".json", changes...)
}
