//go:build !invariants

package zk

// openerNote is empty: see invariants_on.go.
type openerNote struct{}

func noteOpener(*Client) {}

func (c *client) forgetOpener() {}
