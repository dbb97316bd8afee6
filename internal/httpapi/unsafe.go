package httpapi

import "unsafe"

// view returns a string that shares b's memory, so the string changes when b does. It is for
// header values only: they are read for the last time when the header is sent, and
// [exchange] explains why b is not written before that. This line is all of the package's
// unsafe code.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
