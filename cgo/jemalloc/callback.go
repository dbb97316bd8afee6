package jemalloc

import "C"

// The one function that C calls. It stands alone because a preamble may hold no C
// definitions where a function is exported.

// gojemallocProbe is Go called by C, in the middle of the start-up self-test.
//
//export gojemallocProbe
func gojemallocProbe() { probing() }
