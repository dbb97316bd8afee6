// Command lookup looks up users, which allocates in libc. No package of it has C code but
// those of the standard library, so Go's own linker can link it.
package main

import (
	"fmt"
	"io"
	"os"
	"os/user"
)

func main() {
	for id := 0; id < 50; id++ {
		lookup(fmt.Sprint(1<<20 + id))
	}
	fmt.Println("pid", os.Getpid())
	io.Copy(io.Discard, os.Stdin)
}

//go:noinline
func lookup(id string) {
	if u, err := user.LookupId(id); err == nil {
		fmt.Println(u.Name)
	}
}
