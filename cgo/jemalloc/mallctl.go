package jemalloc

// #include <stdlib.h>
// #include "shim.h"
import "C"

import (
	"errors"
	"fmt"
	"syscall"
	"unsafe"
)

// ErrNotLinked means that the program has no jemalloc, because it was built with -asan.
var ErrNotLinked = errors.New("jemalloc is not linked into this program (an -asan build leaves it out)")

// Error says that jemalloc refused to read, write or call a control.
type Error struct {
	Op    string // "read", "write" or "call"
	Name  string // of the control, such as "stats.allocated"
	Errno syscall.Errno
}

// Error names the control that failed and the reason.
func (e *Error) Error() string {
	return fmt.Sprintf("jemalloc: %s %s: %s", e.Op, e.Name, e.reason())
}

// Is makes errors.Is(err, ErrNotLinked) work.
func (e *Error) Is(target error) bool {
	return target == ErrNotLinked && e.Errno == syscall.ENOSYS
}

// Unwrap returns the error number, for errors.Is(err, syscall.ENOENT).
func (e *Error) Unwrap() error { return e.Errno }

func (e *Error) reason() string {
	switch e.Errno {
	case syscall.ENOSYS:
		return ErrNotLinked.Error()
	case syscall.ENOENT:
		return "this jemalloc has no such control, or the option it belongs to is off"
	case syscall.EINVAL:
		return "the control has another type, or does not take this value"
	case syscall.EPERM:
		return "the control can only be read, or only be written"
	}
	return e.Errno.Error()
}

func result(op, name string, code C.int) error {
	if code == 0 {
		return nil
	}
	return &Error{op, name, syscall.Errno(code)}
}

// Value is a Go type that has the layout of a control's C type: bool is bool,
// uint32 unsigned, uint64 uint64_t, uintptr size_t, int ssize_t, and
// unsafe.Pointer any pointer. jemalloc compares only the size. The manual page has the
// type of each control.
type Value interface {
	bool | uint32 | uint64 | uintptr | int | unsafe.Pointer
}

// Read returns a control's value (mallctl). Statistics do not change until "epoch" is
// written; [ReadStats] does that.
func Read[T Value](name string) (T, error) {
	var value T
	size := C.size_t(unsafe.Sizeof(value))
	code := C.gojemalloc_ctl(cName(name), unsafe.Pointer(&value), &size, nil, 0)
	return value, result("read", name, code)
}

// Write sets a control's value (mallctl).
func Write[T Value](name string, value T) error {
	code := C.gojemalloc_ctl(cName(name), nil, nil, unsafe.Pointer(&value), C.size_t(unsafe.Sizeof(value)))
	return result("write", name, code)
}

// Call performs a control that has no value (mallctl), such as "prof.reset" or
// "thread.tcache.flush".
func Call(name string) error {
	return result("call", name, C.gojemalloc_ctl(cName(name), nil, nil, nil, 0))
}

// ReadString returns the value of a control of type const char * (mallctl).
func ReadString(name string) (string, error) {
	var value *C.char
	if err := result("read", name, C.gojemalloc_ctl_get_string(cName(name), &value)); err != nil {
		return "", err
	}
	return C.GoString(value), nil
}

// WriteString sets a control of type const char * (mallctl), such as
// "prof.dump". The string is freed afterwards. No control of jemalloc 5.3 keeps it.
func WriteString(name, value string) error {
	v := C.CString(value)
	defer C.free(unsafe.Pointer(v))
	return result("write", name, C.gojemalloc_ctl_set_string(cName(name), v))
}

// Version returns the version of the linked jemalloc, such as
// "5.3.0-0-g54eaed1d8b56b1aa528be3bdd1877e59c56fa90c".
func Version() (string, error) { return ReadString("version") }

// cName returns a C string in Go's memory. A string in C's memory would change the
// statistics that are read.
func cName(name string) *C.char {
	return (*C.char)(unsafe.Pointer(unsafe.StringData(name + "\x00")))
}
