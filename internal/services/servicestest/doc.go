// Package servicestest has a mirror of mounts for tests of code that uses a
// [services.Registry]. A test sets znodes, doubts, errors and ages. The package has no cache and
// needs no server.
package servicestest
