// Command old is for releases of Go that the agent does not know. It keeps 100 blocks of 1000
// bytes, says so, and waits until its standard input is closed.
package main

// #include <stdlib.h>
// static void *volatile kept[100];
// static __attribute__((noinline)) void old_keep(void)
// {
// 	for (int i = 0; i < 100; i++)
// 		kept[i] = malloc(1000);
// }
import "C"

import (
	"fmt"
	"io"
	"os"
)

func main() {
	C.old_keep()
	fmt.Println("ready")
	_, _ = io.Copy(io.Discard, os.Stdin)
}
