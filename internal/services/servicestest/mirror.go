package servicestest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"magellan/internal/discovery"
	"magellan/internal/services"
)

// Mirror has mounts whose znodes are in maps. Use [New]. It is safe for concurrent use.
type Mirror struct {
	// BeforeRead, if it is not nil, is called before each read of a mount, for tests of what
	// changes between two reads. It may change the mirror. It is set before anybody reads.
	BeforeRead func()

	feed *discovery.Feed

	mu     sync.RWMutex
	zxid   int64
	mounts []*mount
}

// mount is the reader of one mount.
type mount struct {
	m   *Mirror
	of  *services.Mount
	def tree
	// dirs are the directories by their paths; without "" the mount does not exist.
	dirs map[string]*directory
	// absent is the value of the mount's own directory while that does not exist.
	absent *services.Service
	err    error
	meta   discovery.Meta
}

// tree is what [services.Mount.Tree] returns.
type tree interface {
	build(dir string, d *directory, directories int, absent bool, was *services.Service) *services.Service
	changes(dir string, was, is *services.Service) []discovery.Topic
}

type directory struct {
	znodes map[string][]byte
	doubts []discovery.Doubt
	zxid   int64
	value  *services.Service
}

// New returns a Mirror of empty mounts, which do not exist in ZooKeeper. Each is LAYOUT:PATH.
func New(mounts ...string) *Mirror {
	m := &Mirror{feed: discovery.NewFeed(nil)}
	for _, text := range mounts {
		of, err := services.ParseMount(text)
		if err != nil {
			panic(err)
		}
		one := &mount{m: m, of: of, def: described(of.Tree()), dirs: map[string]*directory{}}
		m.mounts = append(m.mounts, one)
		m.rebuild(one)
	}
	return m
}

// Registry returns a registry of the mounts.
func (m *Mirror) Registry(maxStale time.Duration) *services.Registry {
	cfg := services.Config{Watcher: m.feed, MaxStale: maxStale}
	for _, one := range m.mounts {
		cfg.Mounts = append(cfg.Mounts, services.Mounted{Mount: one.of, Reader: one})
	}
	r, err := services.New(cfg)
	if err != nil {
		panic(err)
	}
	return r
}

// Set writes a znode; path is absolute, and in one of the mounts. The directories above it come
// into being with it. Each write is one transaction, whose zxid Set returns.
func (m *Mirror) Set(path, data string) (zxid int64) {
	return m.change(path, func(in *mount, dir, name string, zxid int64) {
		made := true // the child of above
		for above := dir; ; above = above[:max(0, strings.LastIndexByte(above, '/'))] {
			isNew := in.dirs[above] == nil
			if isNew {
				in.dirs[above] = &directory{znodes: map[string][]byte{}}
			}
			if made {
				in.dirs[above].zxid = zxid // it has a new child
			}
			made = isNew
			if above == "" {
				break
			}
		}
		in.dirs[dir].znodes[name] = []byte(data)
		in.dirs[dir].zxid = zxid
	})
}

// Delete deletes a znode that [Mirror.Set] has written. The directory stays.
func (m *Mirror) Delete(path string) (zxid int64) {
	return m.change(path, func(in *mount, dir, name string, zxid int64) {
		delete(in.dirs[dir].znodes, name)
		in.dirs[dir].zxid = zxid
	})
}

// DeleteDirectory deletes a directory with all that is in it.
func (m *Mirror) DeleteDirectory(path string) (zxid int64) {
	return m.change(path+"/-", func(in *mount, dir, _ string, zxid int64) {
		maps.DeleteFunc(in.dirs, func(at string, _ *directory) bool {
			return at == dir || dir == "" || strings.HasPrefix(at, dir+"/")
		})
		if above := in.dirs[dir[:max(0, strings.LastIndexByte(dir, '/'))]]; above != nil {
			above.zxid = zxid
		}
	})
}

// Doubt sets the doubts about the znodes of a directory.
func (m *Mirror) Doubt(path string, doubts ...discovery.Doubt) {
	m.change(path+"/-", func(in *mount, dir, _ string, _ int64) { in.dirs[dir].doubts = doubts })
}

// SetErr makes every read of a mount fail with err until it is set to nil. Reads from memory fail
// as well.
func (m *Mirror) SetErr(path string, err error) {
	m.change(path+"/-", func(in *mount, _, _ string, _ int64) { in.err = err })
}

// SetMeta sets the age and the status of a mount's answers.
func (m *Mirror) SetMeta(path string, age time.Duration, status discovery.CacheStatus) {
	m.change(path+"/-", func(in *mount, _, _ string, _ int64) {
		in.meta = discovery.Meta{Age: age, Cache: status}
	})
}

// change makes a change to the mount that a path is in, and publishes it.
func (m *Mirror) change(path string, f func(in *mount, dir, name string, zxid int64)) (zxid int64) {
	m.mu.Lock()
	m.zxid++
	zxid = m.zxid
	var topics []discovery.Topic
	found := false
	for _, in := range m.mounts {
		if rest, ok := strings.CutPrefix(path, strings.TrimSuffix(in.of.Root(), "/")+"/"); ok {
			dir, name := "", rest
			if slash := strings.LastIndexByte(rest, '/'); slash >= 0 {
				dir, name = rest[:slash], rest[slash+1:]
			}
			was := maps.Clone(in.dirs)
			f(in, dir, name, zxid)
			topics, found = m.rebuild(in), true
			for dir, d := range was {
				if in.dirs[dir] == nil {
					topics = append(topics, in.def.changes(dir, d.value, nil)...)
				}
			}
			break
		}
	}
	m.mu.Unlock()
	if !found {
		panic(fmt.Sprintf("%s is in no mount", path))
	}
	for _, topic := range topics {
		m.feed.Publish(topic, time.Time{})
	}
	return zxid
}

// rebuild makes the values of all directories. m.mu is held.
func (m *Mirror) rebuild(in *mount) (topics []discovery.Topic) {
	for dir, d := range in.dirs {
		directories := 0
		for other := range in.dirs {
			above := other[:max(0, strings.LastIndexByte(other, '/'))]
			if other != "" && above == dir {
				directories++
			}
		}
		was := d.value
		if was == nil && dir == "" {
			was = in.absent
		}
		d.value = in.def.build(dir, d, directories, false, was)
		topics = append(topics, in.def.changes(dir, was, d.value)...)
	}
	if base := in.dirs[""]; base != nil {
		in.absent = nil
	} else if in.absent == nil {
		in.absent = in.def.build("", &directory{}, 0, true, nil)
	}
	return topics
}

// Get implements [discovery.TreeReader].
func (in *mount) Get(_ context.Context, dir string, _ discovery.ReadOptions) (*services.Service, discovery.Meta, error) {
	if in.m.BeforeRead != nil {
		in.m.BeforeRead()
	}
	in.m.mu.RLock()
	defer in.m.mu.RUnlock()
	if in.err != nil {
		return nil, in.meta, in.err
	}
	meta := in.meta
	d := in.dirs[dir]
	if d == nil && dir == "" {
		return in.absent, meta, nil
	} else if d == nil {
		return nil, meta, discovery.ErrNotFound
	}
	meta.Zxid = d.value.Zxid()
	return d.value, meta, nil
}

// All implements [discovery.TreeReader].
func (in *mount) All(ctx context.Context, opt discovery.ReadOptions) (all []discovery.DirectoryValue[services.Service], meta discovery.Meta, err error) {
	base, meta, err := in.Get(ctx, "", opt)
	if err != nil {
		return nil, meta, err
	}
	in.m.mu.RLock()
	defer in.m.mu.RUnlock()
	if len(in.dirs) == 0 {
		return []discovery.DirectoryValue[services.Service]{{Value: base}}, meta, nil
	}
	for _, dir := range slices.Sorted(maps.Keys(in.dirs)) {
		all = append(all, discovery.DirectoryValue[services.Service]{Dir: dir, Value: in.dirs[dir].value})
		meta.Zxid = max(meta.Zxid, in.dirs[dir].value.Zxid())
	}
	return all, meta, nil
}

// described hides the type of a record, which is not exported.
func described[T any](d discovery.Tree[T, services.Service]) tree { return typed[T]{d} }

type typed[T any] struct {
	discovery.Tree[T, services.Service]
}

func (t typed[T]) build(dir string, d *directory, directories int, absent bool, was *services.Service) *services.Service {
	members := discovery.Members[T]{Zxid: d.zxid, Directories: directories, Absent: absent}
	doubts := slices.Clone(d.doubts)
	for name, data := range d.znodes {
		value, err := t.Decode(dir, name, data, discovery.Stat{Mzxid: d.zxid})
		if err != nil {
			doubts = append(doubts, discovery.Doubt{Name: name, Reason: err.Error()})
			continue
		}
		members.Values = append(members.Values, value)
	}
	members.Doubts = discovery.NewDoubts(doubts)
	return t.Build(dir, members, was)
}

func (t typed[T]) changes(dir string, was, is *services.Service) []discovery.Topic {
	return t.Changes(dir, was, is)
}
