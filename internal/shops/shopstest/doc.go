// Package shopstest is a [shops.Reader] for tests of what stands above
// it: records are set by hand, and so are errors and staleness. It is no cache
// and talks to nothing.
package shopstest
