// Package shopstest has a [shops.Reader] for tests of code that uses one. A test sets the
// records, the errors and the staleness of answers. The package has no cache and needs no
// server.
package shopstest
