//go:build invariants

package zk

import (
	"fmt"
	"runtime"
)

// openerNote finds Clients that were dropped without Close: two threads, a
// connection and a session each.
type openerNote struct{ cleanup runtime.Cleanup }

// onDropped is what a dropped Client leads to; a test replaces it.
var onDropped = func(where string) { panic("zk: a Client was dropped without Close; it was opened at " + where) }

// noteOpener remembers the caller of Open.
func noteOpener(outer *Client) {
	where := "an unknown place"
	if _, file, line, ok := runtime.Caller(2); ok {
		where = fmt.Sprintf("%s:%d", file, line)
	}
	outer.opener.cleanup = runtime.AddCleanup(outer, func(where string) { onDropped(where) }, where)
}

func (c *client) forgetOpener() { c.opener.cleanup.Stop() }
