package zookeeper

import (
	"time"

	"github.com/Shopify/gozk/internal/zk"
)

// Stat is what ZooKeeper knows of a node beside its data. It is never changed.
type Stat struct{ stat zk.Stat }

// statOf returns the Stat of an answer, nil if there was an error.
func statOf(stat zk.Stat, err error) *Stat {
	if err != nil {
		return nil
	}
	return &Stat{stat}
}

// Czxid returns the transaction that created the node.
func (stat *Stat) Czxid() int64 { return stat.stat.Czxid }

// Mzxid returns the last transaction that changed the node's data.
func (stat *Stat) Mzxid() int64 { return stat.stat.Mzxid }

// CTime returns when the node was created, to the millisecond, by the leader's clock.
func (stat *Stat) CTime() time.Time { return stat.stat.Ctime }

// MTime returns when the node's data was last changed, to the millisecond, by the
// leader's clock.
func (stat *Stat) MTime() time.Time { return stat.stat.Mtime }

// Version returns how often the node's data was changed.
func (stat *Stat) Version() int { return int(stat.stat.Version) }

// CVersion returns how often a child of the node was created or deleted.
func (stat *Stat) CVersion() int { return int(stat.stat.Cversion) }

// AVersion returns how often the node's ACL was changed.
func (stat *Stat) AVersion() int { return int(stat.stat.Aversion) }

// EphemeralOwner returns the id of the session that an ephemeral node lives with, and 0
// for another node.
func (stat *Stat) EphemeralOwner() int64 { return stat.stat.EphemeralOwner }

// DataLength returns the length of the node's data in bytes.
func (stat *Stat) DataLength() int { return int(stat.stat.DataLength) }

// NumChildren returns the number of the node's children.
func (stat *Stat) NumChildren() int { return int(stat.stat.NumChildren) }

// Pzxid returns the last transaction that created or deleted a child of the node.
func (stat *Stat) Pzxid() int64 { return stat.stat.Pzxid }
