package main

// #include "stress.h"
import "C"

import "unsafe"

//export goBack
func goBack(rest *C.uint8_t, end *C.struct_st_end) {
	back((*byte)(unsafe.Pointer(rest)), unsafe.Pointer(end))
}
