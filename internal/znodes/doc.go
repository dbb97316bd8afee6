// Package znodes answers what any znode holds, for clients that read ZooKeeper by HTTP.
//
// It knows no layout: a znode is bytes, children, and what ZooKeeper says of it. An operator
// names the subtrees that are shown. Nothing below them is read before somebody asks for it, and
// nothing is ever written. What ZooKeeper does not let magellan read is forbidden to clients too.
//
// Package services is for znodes whose meaning is known, and mirrors all of them.
//
// A [Service] reads two kinds of thing through its readers, which [Bytes] and [Children] describe:
// the bytes of a znode, and which children it has. They are apart because ZooKeeper has a watch for
// each, and because most clients need the bytes only.
//
// All of this is safe for concurrent use.
package znodes
