// Command plugins loads a plugin, which has Go code and C code of its own.
package main

import (
	"fmt"
	"io"
	"os"
	"plugin"
)

func main() {
	p, err := plugin.Open(os.Args[1])
	if err == nil {
		var keep plugin.Symbol
		if keep, err = p.Lookup("Keep"); err == nil {
			call(keep.(func(int)))
		}
	}
	fmt.Println(err)
	io.Copy(io.Discard, os.Stdin)
}

//go:noinline
func call(keep func(int)) { keep(100) }
