package leaktest

// #include "busy.h"
import "C"

// Busy has so many threads of C compute, until Stop, and returns how many there are:
// fewer if the system refuses them. One caller at a time.
func Busy(threads int) int { return int(C.leaktest_busy(C.int(threads))) }

// Stop ends and joins the threads of Busy.
func Stop() { C.leaktest_stop() }
