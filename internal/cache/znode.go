package cache

import (
	"slices"
	"strings"

	"magellan/internal/discovery"
	"magellan/internal/zk"
)

// This file is what a keyed kind reads of a znode, and which watch announces that it has changed:
// the znode's bytes, or which children it has.

// read reads what things of the kind are made of. For children, data has their names, ordered,
// each with a slash behind it.
func (k *kind) read(client *zk.Client, path string, watch bool, done func(data []byte, st zk.Stat, err error)) {
	if !k.children {
		client.GetAsync(path, watch, done)
		return
	}
	client.ChildrenAsync(path, watch, func(names []string, st zk.Stat, err error) {
		if err != nil {
			done(nil, st, err)
			return
		}
		slices.Sort(names)
		n := len(names)
		for _, name := range names {
			n += len(name)
		}
		var all strings.Builder
		all.Grow(n)
		for _, name := range names {
			all.WriteString(name)
			all.WriteByte('/')
		}
		done([]byte(all.String()), st, nil)
	})
}

// zxidOf is the transaction that has made a znode what things of the kind are made of; 0 if there
// is no znode.
func (k *kind) zxidOf(st zk.Stat) int64 {
	if k.children {
		return st.Pzxid
	}
	return st.Mzxid
}

// watch is the watch that read sets.
func (k *kind) watch() zk.WatchKind {
	if k.children {
		return zk.WatchChildren
	}
	return zk.WatchData
}

// announces reports whether an event announces a change of things of the kind. The same session may
// watch a znode for other kinds as well.
func (k *kind) announces(of zk.WatchType) bool {
	switch of {
	case zk.ChildrenChanged:
		return k.children
	case zk.Created, zk.DataChanged:
		return !k.children
	default:
		return true
	}
}

// statOf is what decoders get of a znode's state.
func statOf(st zk.Stat) discovery.Stat {
	return discovery.Stat{
		Mzxid: st.Mzxid, Czxid: st.Czxid, Pzxid: st.Pzxid, Ctime: st.Ctime.UnixMilli(), Mtime: st.Mtime.UnixMilli(), Owner: st.EphemeralOwner,
		Version: st.Version, Cversion: st.Cversion, Aversion: st.Aversion, NumChildren: st.NumChildren,
	}
}
