package jemalloc

import "C"

// This file has the one function that C calls. The preamble of a file that exports a
// function may have no C definitions.

// gojemallocProbe is called by C in the middle of the self-test at start.
//
//export gojemallocProbe
func gojemallocProbe() { probing() }
