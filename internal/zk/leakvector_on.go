//go:build leakvector

package zk

/*
#include <stdlib.h>
#include "leakvector.h"
*/
import "C"

import "unsafe"

// leakers bounds the threads that leakVector blocks.
var leakers = make(chan struct{}, 64)

// leakVector is the leak that magellan's profiles are to find, brought back on
// purpose: after a read it asks for the znode's children by libzookeeper's
// synchronous call, and forgets the answer if it is empty. See
// docs/finding-a-leak.md. A read that finds all leakers busy leaks nothing.
func (c *client) leakVector(path string) {
	select {
	case leakers <- struct{}{}:
	default:
		return
	}
	go func() {
		defer func() { <-leakers }()
		c.mu.RLock() // the handle stays; Close waits
		defer c.mu.RUnlock()
		if c.handle == nil {
			return
		}
		p := C.CString(path)
		defer C.free(unsafe.Pointer(p))
		C.zk_leak_children(c.handle.c, p)
	}()
}
