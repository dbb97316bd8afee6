// Package leak forgets C memory, on purpose, in builds with the tag leakhandler.
// In all others it does nothing.
//
// It is what native heap profiles are tried on: memory of C that is allocated on
// behalf of an HTTP request, so that the profile must lead from malloc through C
// and Go to the handler. See docs/finding-a-leak.md.
package leak
