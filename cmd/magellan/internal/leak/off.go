//go:build !leakhandler

package leak

import "magellan/internal/discovery"

// Reader returns r.
func Reader(r discovery.Reader) discovery.Reader { return r }
