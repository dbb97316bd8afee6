package cache

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dgraph-io/ristretto/v2"
	"github.com/prometheus/client_golang/prometheus"

	"magellan/internal/discovery"
	"magellan/internal/zk"
)

// Defaults of [Config].
const (
	DefaultMaxBytes    = 256 << 20
	DefaultInFlight    = 1000
	DefaultMaxWaiting  = 100_000
	DefaultMaxSessions = 256

	DefaultMetricsPrefix = "magellan_cache_"
)

// Config says where the cache reads and how much it may hold.
type Config struct {
	// ZooKeeper opens each of the cache's sessions. OnWatch and OnSession are the
	// cache's own. LostAfter there is also how long an entry is in doubt before an
	// older znode is believed.
	ZooKeeper zk.Config
	// Root is the znode that everything is below. Required: nothing is believed to be
	// absent while the root is.
	Root string
	// MaxBytes bounds the memory that entries of keyed kinds take, in bytes: the cache's
	// own, ristretto's and libzookeeper's, as measured (see entryBytes). 0 means
	// DefaultMaxBytes. What views hold comes on top.
	MaxBytes int64
	// InFlight is how many reads one session has under way at once. 0 means
	// DefaultInFlight.
	InFlight int
	// MaxWaiting is how many reads that callers wait for may wait for a place in
	// flight, per session, before more are refused with discovery.ErrOverloaded. 0
	// means DefaultMaxWaiting.
	MaxWaiting int
	// MaxSessions bounds how many sessions the watches are spread over. Once all
	// are full, further things are read without being kept, and further children of
	// directories count as znodes that cannot be read. 0 means DefaultMaxSessions.
	MaxSessions int
	// ShrinkGuard is how much of a directory's children, or of one child's entries, may go
	// at once, in percent; what loses more goes on being served until [Cache.Accept]. 0
	// means no guard. See [DefaultShrinkGuard].
	ShrinkGuard int
	// Settle is for how long the loss of records of a tree's directory is not published unless
	// others come in their place, so that a registration that is renewed by deleting and
	// creating is one change. 0 means that each change is published as soon as it is read.
	Settle time.Duration
	// AuditRate is how many entries, and how many absent ones, are read again each second
	// and compared with what is held. Children of directories are compared within a
	// minute, whatever the rate. 0 means none of it. See [DefaultAuditRate].
	AuditRate int
	// Snapshot is the file in which what is held is kept for a start while
	// ZooKeeper is away; written every SnapshotInterval, 0 meaning
	// DefaultSnapshotInterval, and by Close. Empty means none.
	Snapshot         string
	SnapshotInterval time.Duration
	// MaxStale is the age beyond which a snapshot is not worth reading. 0 means
	// no bound.
	MaxStale time.Duration
	// MetricsPrefix is what the names of the metrics begin with. Empty means
	// DefaultMetricsPrefix.
	MetricsPrefix string
	// clock is the time outside of this process; tests set it.
	clock clock
	// lossWindow is how long a loss counts; tests shorten it.
	lossWindow time.Duration
	// watchBudget is what the watches of one session may cost; tests lower it.
	watchBudget int64
	// Logger receives what operators should know. nil means slog.Default().
	Logger *slog.Logger
	// Registerer receives the cache's metrics. nil means none.
	Registerer prometheus.Registerer
}

var (
	errClosed     = fmt.Errorf("%w: magellan is shutting down", discovery.ErrUnavailable)
	errOverloaded = fmt.Errorf("%w: too many reads wait for ZooKeeper already", discovery.ErrOverloaded)
)

// Cache is a coherent cache of what [AddKeyed] and [AddView] have described to it. See the
// package's comment for what it promises.
type Cache struct {
	cfg      Config
	log      *slog.Logger
	start    time.Time
	kinds    []*kind // never changed after Start
	keep     *ristretto.Cache[uint64, *entry]
	index    index
	views    views
	problems *problems
	metrics  *metrics
	notify   notifier
	absent   absentees
	snapshot snapshotter

	evicted evictions
	// readmit holds entries that ristretto's buffer had no place for.
	readmit struct {
		mu      sync.Mutex
		waiting queue[admission]
		wake    chan struct{}
	}
	searching  chan struct{} // wakes searchLoop
	started    bool
	registered bool // the metrics are
	closing    chan struct{}
	stopped    sync.WaitGroup
	isClosed   atomic.Bool

	sessions sessions
}

var _ discovery.Watcher = (*Cache)(nil)

// New returns a cache that holds nothing yet. What it is to mirror is told by [AddKeyed] and
// [AddView], and then [Cache.Start] begins. It opens no session, file or goroutine.
func New(cfg Config) (*Cache, error) {
	if cfg.Root == "" {
		return nil, errors.New("cache: Config.Root is empty")
	}
	setDefault(&cfg.MaxBytes, DefaultMaxBytes)
	setDefault(&cfg.InFlight, DefaultInFlight)
	setDefault(&cfg.MaxWaiting, DefaultMaxWaiting)
	setDefault(&cfg.MaxSessions, DefaultMaxSessions)
	setDefault(&cfg.watchBudget, defaultBudget)
	setDefault((*int64)(&cfg.lossWindow), int64(defaultLossWindow))
	setDefault((*int64)(&cfg.ZooKeeper.LostAfter), int64(zk.DefaultLostAfter))
	setDefault((*int64)(&cfg.SnapshotInterval), int64(DefaultSnapshotInterval))
	if cfg.Settle < 0 {
		return nil, errors.New("cache: Config.Settle is negative")
	}
	if cfg.ShrinkGuard < 0 || cfg.ShrinkGuard > 100 {
		return nil, fmt.Errorf("cache: Config.ShrinkGuard is %d: want a percentage, or 0 for no guard", cfg.ShrinkGuard)
	}
	if cfg.AuditRate < 0 || cfg.SnapshotInterval < 0 || cfg.MaxStale < 0 {
		return nil, errors.New("cache: AuditRate, SnapshotInterval or MaxStale in Config is negative")
	}
	if cfg.MetricsPrefix == "" {
		cfg.MetricsPrefix = DefaultMetricsPrefix
	}
	if cfg.clock == nil {
		cfg.clock = systemClock{}
	}
	if cfg.MaxBytes < 0 || cfg.InFlight < 0 || cfg.MaxWaiting < 0 || cfg.MaxSessions < 0 {
		return nil, errors.New("cache: a bound in Config is negative")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	c := &Cache{
		cfg:       cfg,
		log:       cfg.Logger,
		start:     time.Now(),
		searching: make(chan struct{}, 1),
		closing:   make(chan struct{}),
	}
	c.problems = newProblems(c)
	c.readmit.wake = make(chan struct{}, 1)
	c.index.init()
	c.notify.init(c)
	c.absent.init(c.cfg.MaxBytes)
	c.metrics = newMetrics(c)
	return c, nil
}

// Start opens the sessions, reads the snapshot, and returns at once; [Cache.WaitReady] waits
// until the views are known. If Start fails it has closed the cache; otherwise Close must be
// called. Start may be called once.
func (c *Cache) Start() (err error) {
	defer func() {
		if err != nil {
			c.Close()
		}
	}()
	if err := c.checkDescriptions(); err != nil {
		return err
	}
	c.shrinkBudget()
	if err := c.openRistretto(); err != nil {
		return err
	}
	c.snapshot.open(c)
	planned, err := c.views.plan(c)
	if err != nil {
		return err
	}
	c.started = true
	c.snapshot.restoreViews()
	c.sessions.mu.Lock()
	err = c.sessions.open(planned...)
	c.sessions.mu.Unlock()
	if err != nil {
		return err
	}
	if c.cfg.Registerer != nil {
		if err := c.cfg.Registerer.Register(c.metrics); err != nil {
			return fmt.Errorf("cache: registering metrics: %w", err)
		}
		c.registered = true
	}
	c.stopped.Go(c.readmitLoop)
	c.stopped.Go(c.searchLoop)
	c.stopped.Go(c.views.ask)
	c.snapshot.restoreEntries()
	if c.cfg.Snapshot != "" {
		c.snapshot.begin()
	}
	if c.cfg.AuditRate > 0 {
		c.stopped.Go(c.auditLoop)
	}
	return nil
}

// mustNotBeStarted panics after Start: what is mirrored is read without a lock from then on.
func (c *Cache) mustNotBeStarted() {
	if c.started {
		panic("cache: something to mirror is added after Start")
	}
}

// checkDescriptions finds out whether what is to be mirrored can be told apart.
func (c *Cache) checkDescriptions() error {
	taken := map[string]bool{}
	for _, k := range c.kinds {
		if taken[k.name] {
			return fmt.Errorf("cache: two keyed kinds are called %q", k.name)
		}
		taken[k.name] = true
		if k.encode == nil && c.cfg.Snapshot != "" {
			return fmt.Errorf("cache: no snapshot can keep %ss", k.name)
		}
	}
	clear(taken)
	if err := c.checkTrees(); err != nil {
		return err
	}
	for _, v := range c.views.all {
		for _, s := range v.sets {
			if taken[s.dir] {
				return fmt.Errorf("cache: two directories are at %s", s.dir)
			}
			taken[s.dir] = true
		}
	}
	return nil
}

// shrinkBudget makes the sessions' budgets smaller if ZooKeeper is used under a chroot. In the
// request that sets watches again the chroot stands before each path, but the cache counts the
// paths alone.
func (c *Cache) shrinkBudget() {
	_, chroot, err := zk.ParseServers(c.cfg.ZooKeeper.Servers...)
	if err != nil || chroot == "" {
		return
	}
	var paths []string // the shortest of those of which there may be many
	for _, k := range c.kinds {
		paths = append(paths, strings.TrimSuffix(k.dir, "/")+"/x")
	}
	for _, v := range c.views.all {
		for _, s := range v.sets {
			paths = append(paths, s.path("x"))
		}
	}
	if len(paths) == 0 {
		return
	}
	shortest := watchCost(slices.MinFunc(paths, func(a, b string) int { return len(a) - len(b) }))
	c.cfg.watchBudget = c.cfg.watchBudget * shortest / (shortest + int64(len(chroot)))
}

func setDefault[T int | int64](v *T, to T) {
	if *v == 0 {
		*v = to
	}
}

// WaitReady returns nil once the views have been read, as far as they can be: see
// [Cache.NeverRead]. If there was a snapshot it returns nil also once ZooKeeper seems to be
// away. It returns [ErrNoRoot] as soon as that is known, or ctx's error with what was waited
// for. For essential views it also waits until their directories may be listed: hardly any
// answer can be given without, and mostly the credentials are wrong.
func (c *Cache) WaitReady(ctx context.Context) error {
	if c.snapshot.restored() {
		return c.waitRestored(ctx)
	}
	for _, v := range c.views.all {
		if err := v.wait(ctx, false); err != nil {
			return err
		}
	}
	for _, v := range c.views.all {
		if v.essential {
			if err := v.waitListed(ctx); err != nil {
				return err
			}
		}
	}
	for _, t := range c.views.trees {
		if err := t.wait(ctx); err != nil {
			return err
		}
	}
	return nil
}

// Age is the time since the views were last known to be true, all of them; ok is false
// before they first were.
func (c *Cache) Age() (age time.Duration, ok bool) { return c.views.oldest((*view).age) }

// ReadyAge is the age by which readiness is judged: the time since it was last known what
// ZooKeeper holds. If some of that cannot be served, or the shrink guard holds some of it back,
// the cache is ready all the same. All replicas see the same, so all of them would stop serving
// at once, including the answers that are not affected.
func (c *Cache) ReadyAge() (age time.Duration, ok bool) { return c.views.oldest((*view).contact) }

// oldest is the greatest age of all views; ok is false if one has none.
func (p *views) oldest(ageOf func(*view) (time.Duration, bool)) (age time.Duration, ok bool) {
	for _, v := range p.all {
		one, known := ageOf(v)
		if !known {
			return 0, false
		}
		age = max(age, one)
	}
	return age, true
}

// NeverRead lists, by path, the znodes that keep directories from being known as a whole:
// they exist, and could not be read since before the other children of their directory were
// first known. It is empty once each directory has been known as a whole, or [Cache.Accept]
// was called for what is missing. What breaks later is a problem, and no part of it.
func (c *Cache) NeverRead() (paths []string) {
	for _, v := range c.views.all {
		if v.branch != nil {
			continue // what a tree lacks concerns that tree only
		}
		v.mu.Lock()
		for _, s := range v.sets {
			paths = append(paths, s.neverRead()...)
		}
		v.mu.Unlock()
	}
	slices.Sort(paths)
	return paths
}

// Refused says why ZooKeeper refuses a session of the cache, nil if it refuses none:
// a *[zk.Refusal]. What that session holds is STALE until there is another.
func (c *Cache) Refused() error {
	for _, s := range c.sessions.list() {
		if r := s.client.Refused(); r != nil {
			return r
		}
	}
	return nil
}

// Problems lists the znodes that do not parse, may not be read, or have lost too much
// at once, by path. Of each keyed kind only the newest 1000 are listed; one more problem
// then says how many were found besides.
func (c *Cache) Problems() []Problem { return c.problems.list() }

// Close ends all sessions and goroutines. Callers in flight get discovery.ErrUnavailable. Close
// waits for the last snapshot for 10 seconds. If the disk hangs for longer, the snapshot before
// it stays, and one goroutine goes on waiting for the disk. Close may be called again, and from
// any goroutine.
func (c *Cache) Close() error {
	if c.isClosed.Swap(true) {
		return nil
	}
	close(c.closing)
	c.snapshot.close()
	c.sessions.close()
	c.stopped.Wait()
	if c.keep != nil {
		c.keep.Close()
	}
	if c.registered {
		c.cfg.Registerer.Unregister(c.metrics)
	}
	return nil
}

func (c *Cache) now() instant { return instant(time.Since(c.start)) + 1 }

func (c *Cache) instantOf(t time.Time) instant { return instant(t.Sub(c.start)) + 1 }

// onWatch handles a watch event of s, on s's dispatcher goroutine.
func (c *Cache) onWatch(s *session, e zk.WatchEvent) {
	c.metrics.watchEvents.Inc()
	known := false
	for _, k := range c.kinds {
		name, ok := k.nameOf(e.Path)
		if ok && k.announces(e.Type) {
			k.invalidate(s, name)
		}
		known = known || ok
	}
	if !known || e.Path == c.cfg.Root {
		c.views.onWatch(s, e)
	}
}

// onReady is called when s has become live, on its dispatcher goroutine; fresh
// says that its watches are gone.
func (c *Cache) onReady(s *session, fresh bool) {
	c.views.onReady(s, fresh)
}
