// Package survey finds out which layouts of services an unknown ensemble has, so that somebody who
// does not know can mount them. It reads everything below a path, within bounds, and writes nothing.
package survey
