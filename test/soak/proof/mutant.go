package proof

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"

	"magellan/internal/childproc"
	"magellan/test/overlay"
)

// Mutant is magellan with one mistake. A check that finds nothing wrong with it
// proves nothing of the real one.
type Mutant struct {
	Name string
	// Breaks are the promises of which at least one has to be found broken.
	Breaks []Kind
	edits  []edit
}

// edit is an [overlay.Edit]. Go vet lets a literal of a type of this package leave out
// the names of the fields.
type edit overlay.Edit

// Mutants are the mistakes that are made most easily, or were.
var Mutants = []Mutant{
	{
		// Two quick Sets of one key: ristretto keeps the older.
		"ristretto's stale Set", []Kind{Age, BackInTime, Fresh, Converged},
		[]edit{
			{"internal/cache/install.go", "\t\tl.e.rec.Store(rec)\n", `		l.e.rec.Store(rec)
		if was != nil {
			older := *was
			older.doubt = 0
			c.keep.Del(l.hash)
			for _, value := range []*record{&older, rec} {
				e := newEntry(c.kindOf(l.e), l.e.name)
				e.rec.Store(value)
				c.keep.Set(l.hash, e, c.cost(e))
			}
		}
`},
			{"internal/cache/keyed.go", `	meta := k.c.serve(e, hash, rec, k.c.now())
`, `	if kept, ok := k.c.keep.Get(hash); ok && kept.is(k, name) && kept.rec.Load() != nil {
		rec = kept.rec.Load()
	}
	meta := k.c.serve(e, hash, rec, k.c.now())
`},
		},
	},
	{
		"a missed re-arm", []Kind{Age, Fresh, Converged},
		[]edit{{"internal/cache/load.go", "read(l.s.client, l.path, !l.once, l.onGet)", "read(l.s.client, l.path, !l.once && l.e.rec.Load() == nil, l.onGet)"}},
	},
	{
		"a new session without sync", []Kind{Age, BackInTime, Fresh},
		[]edit{{"internal/zk/session.go", `c.syncAsync("/", func(err error) {`, `c.ExistsAsync("/", false, func(_ Stat, err error) {`}},
	},
	{
		"an answer served past max-stale", []Kind{MaxStale},
		[]edit{{"internal/discovery/freshness.go", "if b == 0 || meta.Age <= time.Duration(b)", "if b == 0 || meta.Cache == Stale || meta.Age <= time.Duration(b)"}},
	},
	{
		// Which instances there are is listed without a watch from the second time on.
		"a missed re-arm in a directory of services", []Kind{Age, Fresh, Converged},
		[]edit{{"internal/cache/set.go", "on.client.ChildrenAsync(s.dir, true, func", "on.client.ChildrenAsync(s.dir, s.v.branch == nil || !s.whole, func"}},
	},
	{
		"what the shrink guard serves, told as true", []Kind{Age, BackInTime},
		[]edit{{"internal/services/registry.go", `			left[name], why = true, err
			continue
		}
`, `			left[name], why = true, err
			continue
		}
		if d.Gone {
			continue
		}
`}},
	},
	{
		"a service that is not known, told as absent", []Kind{Unknown},
		[]edit{{"internal/services/registry.go", `		case errors.Is(err, discovery.ErrNotFound):
			absent = absent.Join(meta)
`, `		case errors.Is(err, discovery.ErrNotFound), errors.Is(err, discovery.ErrUnavailable):
			absent = absent.Join(meta)
`}},
	},
}

// Build builds the mutant into dir and returns the binary.
func (m Mutant) Build(ctx context.Context, root, dir string, flags ...string) (binary string, err error) {
	var change overlay.Change
	for _, e := range m.edits {
		change.Edits = append(change.Edits, overlay.Edit(e))
	}
	file, err := overlay.Write(root, dir, "overlay.json", change)
	if err != nil {
		return "", fmt.Errorf("mutant %q: %w", m.Name, err)
	}
	binary = filepath.Join(dir, "magellan")
	args := append([]string{"build", "-overlay", file, "-o", binary}, flags...)
	cmd := exec.Command("go", append(args, "./cmd/magellan")...)
	cmd.Dir = root
	if _, err := childproc.Run(ctx, cmd); err != nil {
		return "", fmt.Errorf("mutant %q: %w", m.Name, err)
	}
	return binary, nil
}
