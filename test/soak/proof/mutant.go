package proof

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Mutant is magellan with one mistake. A check that finds nothing wrong with it
// proves nothing of the real one.
type Mutant struct {
	Name string
	// Breaks are the promises of which at least one has to be found broken.
	Breaks []Kind
	edits  []edit
}

// edit replaces a text that has to stand in a file exactly once.
type edit struct{ file, from, to string }

// Mutants are the mistakes that are made most easily, or were.
var Mutants = []Mutant{
	{
		// Two quick Sets of one key: ristretto keeps the older.
		"ristretto's stale Set", []Kind{Age, BackInTime, Fresh, Converged},
		[]edit{
			{"internal/cache/shops.go", "\t\tl.e.rec.Store(rec)\n", `		l.e.rec.Store(rec)
		if was != nil {
			older := *was
			older.doubt = 0
			c.keep.Del(l.hash)
			for _, value := range []*record{&older, rec} {
				e := &entry{name: l.e.name}
				e.rec.Store(value)
				c.keep.Set(l.hash, e, c.cost(e))
			}
		}
`},
			{"internal/cache/shops.go", `	case rec != nil:
		meta := c.serve(e, hash, rec, c.now())
`, `	case rec != nil:
		if kept, ok := c.keep.Get(hash); ok && kept.name == name && kept.rec.Load() != nil {
			rec = kept.rec.Load()
		}
		meta := c.serve(e, hash, rec, c.now())
`},
		},
	},
	{
		"a missed re-arm", []Kind{Age, Fresh, Converged},
		[]edit{{"internal/cache/load.go", "GetAsync(l.path, !l.once, l.onGet)", "GetAsync(l.path, !l.once && l.e.rec.Load() == nil, l.onGet)"}},
	},
	{
		"a new session without sync", []Kind{Age, BackInTime, Fresh},
		[]edit{{"internal/zk/session.go", `c.syncAsync("/", func(err error) {`, `c.ExistsAsync("/", false, func(_ Stat, err error) {`}},
	},
	{
		"an answer served past max-stale", []Kind{MaxStale},
		[]edit{{"internal/discovery/service.go", "if s.maxStale == 0 || meta.Age <= s.maxStale {", "if s.maxStale == 0 || meta.Cache == Stale || meta.Age <= s.maxStale {"}},
	},
}

// overlay writes the mutant's files into dir, and what `go build -overlay` takes.
// The sources are below root, and stay as they are.
func (m Mutant) overlay(root, dir string) (file string, err error) {
	root, err = filepath.Abs(root)
	if err != nil {
		return "", err
	}
	replace := map[string]string{}
	for _, e := range m.edits {
		source := filepath.Join(root, e.file)
		target, again := replace[source]
		if !again {
			target = filepath.Join(dir, fmt.Sprintf("%d-%s", len(replace), filepath.Base(source)))
			replace[source] = target
		}
		from := source
		if again {
			from = target
		}
		text, err := os.ReadFile(from)
		if err != nil {
			return "", err
		}
		if n := strings.Count(string(text), e.from); n != 1 {
			return "", fmt.Errorf("mutant %q: this text stands %d times in %s, not once; make the mutant fit the code again:\n%s", m.Name, n, e.file, e.from)
		}
		if err := os.WriteFile(target, []byte(strings.Replace(string(text), e.from, e.to, 1)), 0o644); err != nil {
			return "", err
		}
	}
	text, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	file = filepath.Join(dir, "overlay.json")
	return file, os.WriteFile(file, text, 0o644)
}

// Build builds the mutant into dir and returns the binary.
func (m Mutant) Build(ctx context.Context, root, dir string, flags ...string) (binary string, err error) {
	overlay, err := m.overlay(root, dir)
	if err != nil {
		return "", err
	}
	binary = filepath.Join(dir, "magellan")
	args := append([]string{"build", "-overlay", overlay, "-o", binary}, flags...)
	cmd := exec.CommandContext(ctx, "go", append(args, "./cmd/magellan")...)
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("mutant %q: %w\n%s", m.Name, err, out)
	}
	return binary, nil
}
