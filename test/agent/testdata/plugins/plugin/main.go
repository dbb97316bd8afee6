// Command plugin is loaded by the program plugins: -buildmode=plugin.
package main

/*
#include <stdlib.h>

static void *volatile last;

__attribute__((noinline)) static void plugin_keep(int n)
{
	while (n-- > 0)
		last = malloc(1000);
}
*/
import "C"

// Keep has C keep n blocks.
//
//go:noinline
func Keep(n int) { C.plugin_keep(C.int(n)) }

func main() {}
