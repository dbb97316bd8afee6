// Package gozk has only tests: those of the module gozk, against real servers and
// through proxies. They are here because that module requires no other.
package gozk
