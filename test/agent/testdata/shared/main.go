// Command shared is a library for programs of other languages: -buildmode=c-shared.
package main

/*
#include <stdlib.h>
#include <string.h>

static int use(int n)
{
	int sum = 0;
	for (int i = 1; i <= n; i++) {
		char *volatile block = malloc(i);
		memset(block, 1, i);
		sum += block[i - 1];
		free(block);
	}
	return sum;
}
*/
import "C"

import "sync"

// Sum allocates in C, below Go, below the caller's language.
//
//export Sum
func Sum(n C.int) C.int {
	var running sync.WaitGroup
	sums := make([]C.int, 8)
	for i := range sums {
		i := i
		running.Add(1)
		go func() {
			defer running.Done()
			sums[i] = C.use(n)
		}()
	}
	running.Wait()
	var sum C.int
	for _, s := range sums {
		sum += s
	}
	return sum
}

func main() {}
