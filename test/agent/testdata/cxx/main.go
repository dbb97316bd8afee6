// Command cxx keeps records in C++, whose exceptions allocate and unwind the stack.
package main

// #include "shop.h"
import "C"

import (
	"fmt"
	"io"
	"os"
)

func main() {
	done := make(chan int)
	for w := 0; w < 4; w++ {
		go func() { done <- throw(5000) }()
	}
	caught := 0
	for w := 0; w < 4; w++ {
		caught += <-done
	}
	put(1000)
	fmt.Println("caught", caught)
	io.Copy(io.Discard, os.Stdin)
}

//go:noinline
func put(n int) { C.shop_put(C.int(n)) }

//go:noinline
func throw(n int) int { return int(C.shop_throw(C.int(n))) }
