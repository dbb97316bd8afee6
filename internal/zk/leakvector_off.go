//go:build !leakvector

package zk

// leakVector is a bug that only builds with the tag leakvector have.
func (c *client) leakVector(string) {}
