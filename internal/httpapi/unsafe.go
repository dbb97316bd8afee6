package httpapi

import "unsafe"

// view returns a string that shares b's memory: it changes when b does. It is
// for header values only, which are read for the last time when the header is
// sent; see [exchange] for when that is. All of the package's unsafe code is
// this line.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
