package stitchtest

// #include <stdint.h>
// #include <stddef.h>
import "C"

import "unsafe"

//export stBack
func stBack(rest *C.uint8_t, n C.size_t) { back((*byte)(unsafe.Pointer(rest)), int(n)) }
