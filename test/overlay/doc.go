// Package overlay writes the file that `go build -overlay` reads, for programs that need a
// magellan with a mistake or a leak in it. The sources themselves do not change.
//
// It does not build anything. A file can be added only to a folder that exists, because Go
// runs cgo in that folder. The overlay has to stay until the build has ended.
package overlay
