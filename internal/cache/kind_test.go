package cache

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"magellan/internal/discovery"
	"magellan/internal/zk"
)

// printer is a thing of a domain that has nothing to do with magellan's own.
type printer struct {
	Room  string   `json:"room"`
	Trays []string `json:"trays"`
}

func printerPath(name string) string { return "/magellan/printers/" + name }

// printers describes such things.
var printers = discovery.Keyed[printer]{
	Kind: "printer",
	Dir:  "/magellan/printers",
	Path: printerPath,
	Name: func(path string) (string, bool) {
		name, ok := strings.CutPrefix(path, printerPath(""))
		return name, ok && discovery.ValidateName(name) == nil
	},
	Decode: func(name string, data []byte, _ discovery.Stat) (*printer, error) {
		p := new(printer)
		if err := json.Unmarshal(data, p); err != nil {
			return nil, fmt.Errorf("printer %q: %w: %w", name, discovery.ErrBadData, err)
		}
		return p, nil
	},
	Encode: func(dst []byte, p *printer) []byte {
		data, err := json.Marshal(p)
		if err != nil {
			panic(err)
		}
		return append(dst, data...)
	},
}

// plan is all floors, as one line of text.
type plan struct {
	text string
	zxid int64
}

// floors describes a view: a plan of all floors.
func floors() discovery.View[plan] {
	all := &discovery.Directory[string]{
		Path: "/magellan/floors",
		Decode: func(name string, data []byte, _ discovery.Stat) (string, error) {
			return name + "=" + string(data), nil
		},
	}
	return discovery.View[plan]{
		Name:        "floors",
		Directories: []discovery.AnyDirectory{all},
		Build: func(m discovery.Moment, _ *plan) *plan {
			held := all.Members(m)
			slices.Sort(held.Values)
			return &plan{strings.Join(held.Values, " "), held.Zxid}
		},
		Zxid:    func(p *plan) int64 { return p.zxid },
		Changes: func(_, _ *plan) []discovery.Topic { return []discovery.Topic{{Kind: "floors"}} },
	}
}

// office is a cache of two domains.
type office struct {
	*mirror
	printers *Keyed[printer]
	floors   *View[plan]
}

func (w *world) office(cfg Config) *office {
	w.Helper()
	if cfg.ZooKeeper.Servers == nil {
		cfg.ZooKeeper.Servers = []string{w.server.Addr()}
	}
	cfg.ZooKeeper.SessionTimeout, cfg.ZooKeeper.Logger = patience/2, quiet
	if cfg.Logger == nil {
		cfg.Logger = quiet
	}
	m, err := newMirror(cfg)
	w.must(err)
	o := &office{m, AddKeyed(m.Cache, printers), AddView(m.Cache, floors())}
	w.must(o.Start())
	w.cache = m
	w.Cleanup(func() { w.must(o.Close()) })
	w.must(o.WaitReady(w.soon()))
	return o
}

// printer wants a printer to be read as it is, in time.
func (w *world) printer(o *office, name string, want *printer, status discovery.CacheStatus) {
	w.Helper()
	w.eventually(func() string {
		got, meta, err := o.printers.Get(w.soon(), name, discovery.ReadOptions{})
		if err != nil && !errors.Is(err, discovery.ErrNotFound) || !reflect.DeepEqual(got, want) || meta.Cache != status {
			return fmt.Sprintf("printer %s is %+v (%v, %v), want %+v (%v)", name, got, meta.Cache, err, want, status)
		}
		return ""
	})
}

func (w *world) floors(o *office, want string, status discovery.CacheStatus) {
	w.Helper()
	w.eventually(func() string {
		got, meta, err := o.floors.Get(w.soon(), discovery.ReadOptions{})
		w.must(err)
		if got.text != want || meta.Cache != status {
			return fmt.Sprintf("floors are %q (%v), want %q (%v)", got.text, meta.Cache, want, status)
		}
		return ""
	})
}

// TestTwoDomains: one cache mirrors what two domains have described, whose things have the
// same names, and follows each of them.
func TestTwoDomains(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	first := &printer{"1.07", []string{"A4"}}
	w.shop("42", "ash1")
	w.put(printerPath("42"), `{"room":"1.07","trays":["A4"]}`)
	w.put("/magellan/floors/1", "open")
	file := filepath.Join(t.TempDir(), "snapshot")
	o := w.office(Config{Snapshot: file, AuditRate: 100})
	w.expect("42", "ash1", discovery.Miss)
	w.printer(o, "42", first, discovery.Miss)
	w.printer(o, "none", nil, discovery.Miss)
	w.floors(o, "1=open", discovery.Hit)

	woken, woken2 := make(wakeUp, 1), make(wakeUp, 1)
	defer o.Watch(discovery.Topic{Kind: "printer", Name: "42"}, woken).Stop()
	defer o.Watch(discovery.Topic{Kind: "floors"}, woken2).Stop()
	w.printer(o, "42", first, discovery.Hit)
	w.put(printerPath("42"), `{"room":"2.01"}`)
	<-woken
	w.printer(o, "42", &printer{Room: "2.01"}, discovery.Hit)
	w.put("/magellan/floors/2", "shut")
	<-woken2
	w.floors(o, "1=open 2=shut", discovery.Hit)
	w.expect("42", "ash1", discovery.Hit)
	w.put(printerPath("none"), `{"room":"3.03"}`)
	w.printer(o, "none", &printer{Room: "3.03"}, discovery.Hit)

	// What is wrong is said of the right one.
	w.put(printerPath("42"), `{`)
	w.eventually(func() string {
		if p := o.Problems(); len(p) != 1 || p[0].Path != printerPath("42") {
			return fmt.Sprintf("problems: %+v", p)
		}
		return ""
	})
	w.printer(o, "42", &printer{Room: "2.01"}, discovery.Stale)
	w.expect("42", "ash1", discovery.Hit)
	if x, ok := o.Explain(printerPath("42")); !ok || x.Kind != "printer" || !strings.Contains(x.Value, "2.01") || x.Problem == nil {
		t.Errorf("%+v", x)
	}
	w.put(printerPath("42"), `{"room":"2.02"}`)
	w.printer(o, "42", &printer{Room: "2.02"}, discovery.Hit)

	// An expired session takes all along, and all is read again.
	w.expire(o.sessions.list()[0])
	w.allVouched()
	w.printer(o, "42", &printer{Room: "2.02"}, discovery.Hit)
	w.floors(o, "1=open 2=shut", discovery.Hit)
	if w.drift() != 0 {
		t.Errorf("%v drifts", w.drift())
	}

	// A snapshot has all of it, and a start without ZooKeeper answers from it.
	w.must(o.Close())
	w.must(w.server.Kill())
	o = w.office(Config{Snapshot: file})
	w.printer(o, "42", &printer{Room: "2.02"}, discovery.Stale)
	w.expect("42", "ash1", discovery.Stale)
	w.floors(o, "1=open 2=shut", discovery.Stale)
	w.must(o.Close())

	// Who mirrors less takes from it what there is a use for, and says that there was more.
	var log bytes.Buffer
	m, err := newMirror(Config{Snapshot: file, Logger: slog.New(slog.NewTextHandler(&log, nil)), ZooKeeper: zk.Config{Servers: []string{w.server.Addr()}, Logger: quiet}})
	w.must(err)
	w.must(m.Start())
	w.cache = m
	w.must(m.WaitReady(w.soon()))
	w.expect("42", "ash1", discovery.Stale)
	w.must(m.Close())
	if text := log.String(); !strings.Contains(text, "some records of the snapshot are not used") || !strings.Contains(text, "records=5") {
		t.Errorf("the log: %s", text) // two printers, the directory of floors and two floors
	}
}

// TestKindsOfOneHash: two things of different kinds have the same name and, by chance, the
// same hash.
func TestKindsOfOneHash(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.shop("42", "ash1")
	w.put(printerPath("42"), `{"room":"1.07"}`)
	m, err := newMirror(Config{Logger: quiet, ZooKeeper: zk.Config{Servers: []string{w.server.Addr()}, Logger: quiet}})
	w.must(err)
	o := &office{mirror: m, printers: AddKeyed(m.Cache, printers)}
	o.printers.k.seed = o.homes.seed
	w.must(o.Start())
	w.cache = m
	defer func() { w.must(o.Close()) }()
	for _, status := range []discovery.CacheStatus{discovery.Miss, discovery.Hit, discovery.Hit} {
		w.printer(o, "42", &printer{Room: "1.07"}, status) // which is kept
		many := make([]discovery.Read[printer], 1)
		if o.printers.GetMany(w.soon(), []string{"42"}, discovery.ReadOptions{}, many); many[0].Err != nil || many[0].Value.Room != "1.07" {
			t.Errorf("%+v", many)
		}
		w.expect("42", "ash1", discovery.Miss)
	}
}

// TestNoViews: a cache may have nothing but things that are found by their names.
func TestNoViews(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.put(printerPath("42"), `{"room":"1.07"}`)
	c, err := New(Config{Root: layout.Root, Logger: quiet, ZooKeeper: zk.Config{Servers: []string{w.server.Addr()}, Logger: quiet}})
	w.must(err)
	o := &office{mirror: &mirror{Cache: c}, printers: AddKeyed(c, printers)}
	w.must(c.Start())
	defer func() { w.must(c.Close()) }()
	w.must(c.WaitReady(w.soon()))
	w.printer(o, "42", &printer{Room: "1.07"}, discovery.Miss)
	w.printer(o, "42", &printer{Room: "1.07"}, discovery.Hit)
	if _, ok := c.ReadyAge(); !ok || len(c.NeverRead()) != 0 {
		t.Errorf("not ready; never read %v", c.NeverRead())
	}

	other, err := New(Config{Root: "/elsewhere", Logger: quiet, ZooKeeper: zk.Config{Servers: []string{w.server.Addr()}, Logger: quiet}})
	w.must(err)
	AddKeyed(other, printers)
	w.must(other.Start())
	defer func() { w.must(other.Close()) }()
	if err := other.WaitReady(w.soon()); !errors.Is(err, ErrNoRoot) {
		t.Errorf("without a root: %v", err)
	}
}

// TestDescriptions: what cannot be told apart is refused, and nothing is added too late.
func TestDescriptions(t *testing.T) {
	for what, describe := range map[string]func(*Cache){
		"kinds":       func(c *Cache) { AddKeyed(c, printers); AddKeyed(c, printers) },
		"directories": func(c *Cache) { AddView(c, floors()); AddView(c, floors()) },
	} {
		c, err := New(Config{Root: layout.Root, Logger: quiet})
		if err != nil {
			t.Fatal(err)
		}
		describe(c)
		if err := c.Start(); err == nil || !strings.Contains(err.Error(), "two "+what) && !strings.Contains(err.Error(), "two keyed "+what) {
			t.Errorf("%s that cannot be told apart: %v", what, err)
		}
	}
	c, err := New(Config{Root: layout.Root, Logger: quiet, ZooKeeper: zk.Config{Servers: []string{"127.0.0.1:1"}, Logger: quiet}})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, add := range []func(){func() { AddKeyed(c, printers) }, func() { AddView(c, floors()) }} {
		func() {
			defer func() {
				if recover() == nil {
					t.Error("added after Start")
				}
			}()
			add()
		}()
	}
}

// TestOtherVersion: a snapshot of another version is not used, which is said, and replaced.
func TestOtherVersion(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	file := w.snapshotOf(systemClock{})
	good, err := os.ReadFile(file)
	w.must(err)
	old := slices.Concat([]byte("magellan snapshot 2\n"), good[len(snapshotMagic):len(good)-8])
	w.must(os.WriteFile(file, withChecksum(old), 0o600))
	var log bytes.Buffer
	c, err := newMirror(Config{Snapshot: file, Logger: slog.New(slog.NewTextHandler(&log, nil)), ZooKeeper: zk.Config{Servers: []string{w.server.Addr()}, Logger: quiet}})
	w.must(err)
	w.must(c.Start())
	w.cache = c
	w.must(c.WaitReady(w.soon()))
	if c.snapshot.restored() {
		t.Error("it was used")
	}
	w.eventually(func() string {
		if _, ok := c.Age(); !ok || c.views.session.verified() <= 1 {
			return "nothing is known"
		}
		return ""
	})
	w.must(c.Close())
	if text := log.String(); strings.Count(text, "level=WARN") != 1 || !strings.Contains(text, "version") {
		t.Errorf("the log: %s", text)
	}
	if now, err := os.ReadFile(file); err != nil || !bytes.HasPrefix(now, []byte(snapshotMagic)) {
		t.Errorf("the file now: %.30q, %v", now, err)
	}
}

// TestReadsAreAlike: GetMany takes a Read of any type for a read.
func TestReadsAreAlike(t *testing.T) {
	is, want := reflect.TypeFor[read](), reflect.TypeFor[discovery.Read[printer]]()
	if is.Size() != want.Size() || is.NumField() != want.NumField() {
		t.Fatalf("%v and %v", is, want)
	}
	for i := range is.NumField() {
		a, b := is.Field(i), want.Field(i)
		if a.Offset != b.Offset || a.Type.Size() != b.Type.Size() || !strings.EqualFold(a.Name, b.Name) {
			t.Errorf("%v and %v", a, b)
		}
	}
}

// TestSizes: there may be millions of these.
func TestSizes(t *testing.T) {
	if got := unsafe.Sizeof(entry{}); got != 32 {
		t.Errorf("an entry has %d bytes, want 32", got)
	}
	if got := unsafe.Sizeof(record{}); got != 32 {
		t.Errorf("a record has %d bytes, want 32", got)
	}
}

// TestEntryKeepsItsKind: whenever it is asked for.
func TestEntryKeepsItsKind(t *testing.T) {
	e := newEntry(&kind{number: 200}, "42")
	for _, at := range []instant{0, 1, 1e9, 1e9 << 24, 1e9<<24 + 5e9, 1 << 62} {
		e.touch(at)
		if e.kind() != 200 {
			t.Fatalf("after %d its kind is %d", at, e.kind())
		}
		if e.touch(at) {
			t.Errorf("%d: asked for twice in the same second", at)
		}
	}
	if heat := e.heat.Load(); heat < 3 {
		t.Errorf("heat %d", heat)
	}
}
