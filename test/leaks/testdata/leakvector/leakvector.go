package zk

/*
#include <stdlib.h>
#include "leakvector.h"
*/
import "C"

import "unsafe"

// leakers is the greatest number of threads that leakVector blocks.
var leakers = make(chan struct{}, 64)

// leakVector leaks on purpose, so that magellan's profiles can be tested on it: after a
// read it reads the names of the znode's children with libzookeeper's synchronous call,
// and does not free an empty answer. See docs/finding-a-leak.md. If all leakers are busy,
// a read leaks nothing.
func (c *client) leakVector(path string) {
	select {
	case leakers <- struct{}{}:
	default:
		return
	}
	go func() {
		defer func() { <-leakers }()
		c.mu.RLock() // the handle stays open; Close waits
		defer c.mu.RUnlock()
		if c.handle == nil {
			return
		}
		p := C.CString(path)
		defer C.free(unsafe.Pointer(p))
		C.zk_leak_children(c.handle.c, p)
	}()
}
