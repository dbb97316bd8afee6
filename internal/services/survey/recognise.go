package survey

import (
	"cmp"
	"path"
	"slices"
	"strings"

	"magellan/internal/discovery"
	"magellan/internal/services"
)

// findings gather what each directory may be. Two kinds of layouts are told apart: those that say
// where below a mount the records are, such as Kafka's, fix the mount's path; for the others each
// directory of records is a service, and the mount is what they have in common.
type findings struct {
	layouts []*services.Layout
	dirs    map[string]*directory
}

// directory is what is known of the children of a znode.
type directory struct {
	// fixed is the mount that a layout fixes by the directory's path, nil if there is none. It
	// counts if any child is a record of that layout.
	fixed *services.Mount
	// as is what the children are by each layout that takes any.
	as map[*services.Layout]*tally
	// candidates is how many children are records, or may be records that do not parse.
	candidates int
}

// tally counts the children of a directory by a layout.
type tally struct {
	typical, records, instances int
	ephemeral                   bool // one of them is
}

func newFindings() *findings {
	f := &findings{layouts: services.Layouts(), dirs: map[string]*directory{}}
	// What has a layout's own fields is not a home-made registration.
	last := slices.IndexFunc(f.layouts, func(l *services.Layout) bool { return l.Name == plain })
	homeMade := f.layouts[last]
	f.layouts = append(slices.Delete(f.layouts, last, last+1), homeMade)
	return f
}

const plain = "plain"

// add takes a znode that was read into account, as a child of its parent.
func (f *findings) add(at string, z Znode) {
	if at == "/" {
		return
	}
	parent, name := path.Split(at)
	parent = path.Clean(parent)
	d := f.dirs[parent]
	if d == nil {
		d = &directory{fixed: f.fixed(parent), as: map[*services.Layout]*tally{}}
		f.dirs[parent] = d
	}
	record := services.Znode{Dir: strings.TrimPrefix(parent, "/"), Name: name, Data: z.Data}
	leaf := len(z.Children) == 0
	if d.fixed != nil {
		record.Dir = below(d.fixed, parent)
		names := d.fixed.Layout.Inside(record.Dir) == services.Names
		if (leaf || names) && d.count(d.fixed.Layout, record, z.Ephemeral) {
			d.candidates++
			return
		}
	}
	if !leaf {
		return // it is a directory
	}
	if len(z.Data) > 0 || z.Ephemeral {
		d.candidates++
	}
	for _, l := range f.layouts {
		if l.Inside == nil && d.count(l, record, z.Ephemeral) {
			return
		}
	}
}

// count counts a child by a layout, and reports whether it is a typical record of it.
func (d *directory) count(l *services.Layout, z services.Znode, ephemeral bool) bool {
	r, err := l.Decode(z)
	if err != nil {
		return false
	}
	t := d.as[l]
	if t == nil {
		t = &tally{}
		d.as[l] = t
	}
	t.records++
	t.instances += len(r.Instances)
	t.ephemeral = t.ephemeral || ephemeral
	if l.Typical != nil && !l.Typical(z, r) {
		return false
	}
	t.typical++
	return true
}

// fixed returns the mount in which a directory has records, if a layout says so by the directory's
// path.
func (f *findings) fixed(dir string) *services.Mount {
	for _, l := range f.layouts {
		if l.Inside == nil {
			continue
		}
		for at, up := dir, 0; up <= services.MaxDepth; up++ {
			m, err := services.ParseMount(l.Name + ":" + mountable(l, at))
			if err == nil && m.Root() == at {
				if in := l.Inside(below(m, dir)); in == services.Records || in == services.Names {
					return m
				}
			}
			if at == "/" {
				break
			}
			at = path.Dir(at)
		}
	}
	return nil
}

// mountable is the path that a mount has if its directory is dir: that which a user would give.
func mountable(l *services.Layout, dir string) string {
	if l.Base == nil {
		return dir
	}
	own, _ := l.Base("/")
	return cmp.Or(strings.TrimSuffix(dir, own), "/")
}

// below is a directory's path below a mount.
func below(m *services.Mount, dir string) string {
	return strings.TrimPrefix(strings.TrimPrefix(dir, strings.TrimSuffix(m.Root(), "/")), "/")
}

// layout returns the layout that most records of a directory are typical of; nil if there is none.
func (f *findings) layout(d *directory) *services.Layout {
	if d.fixed != nil && d.as[d.fixed.Layout] != nil {
		return d.fixed.Layout
	}
	var best *services.Layout
	for _, l := range f.layouts {
		t := d.as[l]
		if t == nil || t.typical == 0 || l.Name == plain && !t.registers(d) {
			continue
		}
		if best == nil || t.typical > d.as[best].typical {
			best = l
		}
	}
	return best
}

// registers reports whether the addresses in a directory look like home-made registrations. A single
// address that stays, or a few among other data, is configuration.
func (t *tally) registers(d *directory) bool {
	return 2*t.typical >= d.candidates && (t.ephemeral || t.instances > 1)
}

// mounts returns the mounts to all that was recognised.
func (f *findings) mounts() (all []Found) {
	fixed := map[string]*Found{}
	free := map[*services.Layout][]string{}
	layouts := map[string]*services.Layout{}
	for at, d := range f.dirs {
		l := f.layout(d)
		switch {
		case l == nil:
		case l.Inside != nil:
			m := fixed[d.fixed.String()]
			if m == nil {
				m = &Found{Mount: d.fixed}
				fixed[d.fixed.String()] = m
			}
			m.take(d, l)
			layouts[at] = l
		default:
			free[l] = append(free[l], at)
			layouts[at] = l
		}
	}
	for _, m := range fixed {
		all = append(all, *m)
	}
	for l, dirs := range free {
		if l.Name == plain { // what Druid and others write besides looks like that
			dirs = slices.DeleteFunc(dirs, func(at string) bool {
				return slices.ContainsFunc(all, func(m Found) bool {
					return m.Mount.Layout.Base != nil && m.Mount.Path != "/" && discovery.Below(at, m.Mount.Path)
				})
			})
		}
		slices.Sort(dirs)
		for _, group := range f.groups(l, dirs, layouts) {
			m, err := services.ParseMount(l.Name + ":" + group.path)
			if err != nil {
				continue // no znode that was read has such a path
			}
			found := Found{Mount: m}
			for _, at := range group.dirs {
				found.take(f.dirs[at], l)
			}
			all = append(all, found)
		}
	}
	slices.SortFunc(all, func(a, b Found) int {
		return cmp.Or(cmp.Compare(a.Mount.Path, b.Mount.Path), cmp.Compare(a.Mount.Layout.Name, b.Mount.Layout.Name))
	})
	for i := range all {
		for j := range all[:i] {
			if a, b := all[i].Mount.Root(), all[j].Mount.Root(); all[j].Overlaps == nil && (discovery.Below(a, b) || discovery.Below(b, a)) {
				all[i].Overlaps = all[j].Mount
			}
		}
	}
	return all
}

// take counts a directory.
func (m *Found) take(d *directory, l *services.Layout) {
	t := d.as[l]
	m.Services++
	m.Instances += t.instances
	m.Broken += max(0, d.candidates-t.records)
}

// group is a mount's path and the directories of its services.
type group struct {
	path string
	dirs []string
}

// groups finds mounts for the directories of one layout, which are sorted. They share a mount if
// they have an ancestor in common that is not the root, and that has no services of other layouts.
func (f *findings) groups(l *services.Layout, dirs []string, layouts map[string]*services.Layout) []group {
	if len(dirs) == 0 {
		return nil
	}
	common := dirs[0]
	for _, at := range dirs[1:] {
		for !discovery.Below(at, common) {
			common = path.Dir(common)
		}
	}
	// foreign reports whether there are services of others below a path.
	foreign := func(at string) bool {
		for other := range layouts {
			if _, ours := slices.BinarySearch(dirs, other); !ours && discovery.Below(other, at) {
				return true
			}
		}
		return false
	}
	tooDeep := func(at string) bool { return strings.Count(strings.TrimPrefix(at, common), "/") > services.MaxDepth }
	if len(dirs) == 1 {
		if parent := path.Dir(common); parent != "/" && !foreign(parent) {
			common = parent
		}
		return []group{{common, dirs}}
	}
	if common != "/" && !foreign(common) && !slices.ContainsFunc(dirs, tooDeep) {
		return []group{{common, dirs}}
	}
	var all []group
	for len(dirs) > 0 {
		// Those that have the next element of their paths in common.
		n := 1
		first := childOf(common, dirs[0])
		for n < len(dirs) && discovery.Below(dirs[n], first) && first != common {
			n++
		}
		all = append(all, f.groups(l, dirs[:n:n], layouts)...)
		dirs = dirs[n:]
	}
	return all
}

// childOf is the child of a directory in which a path below it is, or the directory itself.
func childOf(above, at string) string {
	rest := strings.TrimPrefix(strings.TrimPrefix(at, strings.TrimSuffix(above, "/")), "/")
	if rest == "" {
		return above
	}
	name, _, _ := strings.Cut(rest, "/")
	return path.Join(above, name)
}
