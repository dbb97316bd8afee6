package zookeeper

import (
	"context"

	"github.com/Shopify/gozk/internal/zk"
)

// Constants for Create's flags.
const (
	// EPHEMERAL: the node is deleted when the session ends.
	EPHEMERAL = 1 << iota
	// SEQUENCE: a number is appended to the node's name, one higher each time.
	SEQUENCE
)

// noDeadline is the context of all requests: how long they take is up to the session's
// timeout.
var noDeadline = context.Background()

// Get returns a node's data and Stat.
func (conn *Conn) Get(path string) (data string, stat *Stat, err error) {
	if err := conn.begin("get", path); err != nil {
		return "", nil, err
	}
	defer conn.end()
	b, st, err := conn.client.Get(noDeadline, path)
	return string(b), statOf(st, err), errorOf("get", path, err)
}

// GetW is Get with a watch, which fires when the node's data changes and when it is
// deleted. If there is an error, there is no watch.
func (conn *Conn) GetW(path string) (data string, stat *Stat, watch <-chan Event, err error) {
	if err := conn.begin("getw", path); err != nil {
		return "", nil, nil, err
	}
	defer conn.end()
	done := make(chan struct{})
	conn.watches.ask(path)
	conn.client.GetAsync(path, true, func(b []byte, st zk.Stat, e error) {
		watch = conn.watches.answered(path, ofData, e == nil)
		data, stat, err = string(b), statOf(st, e), errorOf("getw", path, e)
		close(done)
	})
	<-done
	return data, stat, watch, err
}

// Children returns the names of a node's children, in no order, and its Stat.
func (conn *Conn) Children(path string) (children []string, stat *Stat, err error) {
	if err := conn.begin("children", path); err != nil {
		return nil, nil, err
	}
	defer conn.end()
	names, st, err := conn.client.Children(noDeadline, path)
	return namesOf(names), statOf(st, err), errorOf("children", path, err)
}

// ChildrenW is Children with a watch, which fires when a child is created or deleted and
// when the node is deleted. If there is an error, there is no watch.
func (conn *Conn) ChildrenW(path string) (children []string, stat *Stat, watch <-chan Event, err error) {
	if err := conn.begin("childrenw", path); err != nil {
		return nil, nil, nil, err
	}
	defer conn.end()
	done := make(chan struct{})
	conn.watches.ask(path)
	conn.client.ChildrenAsync(path, true, func(names []string, st zk.Stat, e error) {
		watch = conn.watches.answered(path, ofChildren, e == nil)
		children, stat, err = namesOf(names), statOf(st, e), errorOf("childrenw", path, e)
		close(done)
	})
	<-done
	return children, stat, watch, err
}

// namesOf returns names, or nil if there are none.
func namesOf(names []string) []string {
	if len(names) == 0 {
		return nil
	}
	return names
}

// Exists returns a node's Stat, nil if there is no such node.
func (conn *Conn) Exists(path string) (stat *Stat, err error) {
	if err := conn.begin("exists", path); err != nil {
		return nil, err
	}
	defer conn.end()
	st, err := conn.client.Exists(noDeadline, path)
	return statOf(st, err), errorOf("exists", path, unlessAbsent(err))
}

// ExistsW is Exists with a watch, which fires when the node is created, when its data
// changes and when it is deleted. If there is an error, there is no watch.
func (conn *Conn) ExistsW(path string) (stat *Stat, watch <-chan Event, err error) {
	if err := conn.begin("existsw", path); err != nil {
		return nil, nil, err
	}
	defer conn.end()
	done := make(chan struct{})
	conn.watches.ask(path)
	conn.client.ExistsAsync(path, true, func(st zk.Stat, e error) {
		watch = conn.watches.answered(path, ofData, unlessAbsent(e) == nil)
		stat, err = statOf(st, e), errorOf("existsw", path, unlessAbsent(e))
		close(done)
	})
	<-done
	return stat, watch, err
}

// unlessAbsent returns nil if the error only says that there is no such node.
func unlessAbsent(err error) error {
	if e, ok := err.(*zk.Error); ok && e.Code == zk.ErrNoNode {
		return nil
	}
	return err
}

// Create creates a node with the data value. flags are any of EPHEMERAL and SEQUENCE. aclv
// says who may do what with the node; nil is an empty list, which the servers refuse with
// ZINVALIDACL. It returns the node's path, which ends in a number if flags have SEQUENCE.
func (conn *Conn) Create(path, value string, flags int, aclv []ACL) (pathCreated string, err error) {
	if err := conn.begin("create", path); err != nil {
		return "", err
	}
	defer conn.end()
	created, _, err := conn.client.Create(noDeadline, path, []byte(value), zk.CreateOptions{Mode: zk.CreateMode(flags), ACL: aclTo(aclv)})
	return created, errorOf("create", path, err)
}

// Set replaces a node's data if its version is the given one, or if that is -1. It
// returns the node's new Stat.
func (conn *Conn) Set(path, value string, version int) (stat *Stat, err error) {
	if err := conn.begin("set", path); err != nil {
		return nil, err
	}
	defer conn.end()
	st, err := conn.client.Set(noDeadline, path, []byte(value), int32(version))
	return statOf(st, err), errorOf("set", path, err)
}

// Delete deletes a node without children if its version is the given one, or if that is
// -1.
func (conn *Conn) Delete(path string, version int) (err error) {
	if err := conn.begin("delete", path); err != nil {
		return err
	}
	defer conn.end()
	return errorOf("delete", path, conn.client.Delete(noDeadline, path, int32(version)))
}

// ACL returns a node's access control list and Stat.
func (conn *Conn) ACL(path string) ([]ACL, *Stat, error) {
	if err := conn.begin("acl", path); err != nil {
		return nil, nil, err
	}
	defer conn.end()
	acl, st, err := conn.client.GetACL(noDeadline, path)
	if err != nil {
		return nil, nil, errorOf("acl", path, err)
	}
	return aclFrom(acl), statOf(st, nil), nil
}

// SetACL replaces a node's access control list if its AVersion is the given one, or if
// that is -1. A nil aclv is an empty list, which the servers refuse with ZINVALIDACL.
func (conn *Conn) SetACL(path string, aclv []ACL, version int) error {
	if err := conn.begin("setacl", path); err != nil {
		return err
	}
	defer conn.end()
	return errorOf("setacl", path, conn.client.SetACL(noDeadline, path, aclTo(aclv), int32(version)))
}
