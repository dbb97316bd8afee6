package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/google/renameio/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"magellan/cgo/jemalloc"
	"magellan/cgo/jemalloc/pprof"
	"magellan/internal/admin"
	"magellan/internal/cache"
	"magellan/internal/discovery"
	"magellan/internal/httpapi"
	"magellan/internal/services"
	"magellan/internal/shops"
	"magellan/internal/zk"
	"magellan/internal/zk/zkmetrics"
	"magellan/internal/znodes"
)

type serveCommand struct {
	Listen         string        `placeholder:"HOST:PORT" default:":8080" help:"Address for requests. With port 0 the system chooses a free port. unix:PATH is a socket in the file system, for a proxy on the same machine."`
	AdminListen    string        `placeholder:"HOST:PORT" default:"${admin_listen}" help:"Address for operators. Unless it is a loopback address, a token is required."`
	CacheBytes     byteSize      `placeholder:"SIZE" default:"256MiB" help:"Memory for shops, such as 256MiB or 1GB. Regions, datacenters, bad citizens and services need memory on top of it."`
	Services       []string      `placeholder:"LAYOUT:PATH" help:"Also serve the services that other programs keep in ZooKeeper below PATH, separated by commas or given several times. The layouts are listed above. Nothing is ever written there."`
	Znodes         []string      `placeholder:"PATH" help:"Also show the znode at PATH and all below it, as they are, separated by commas or given several times. Without this flag none are shown. Whoever may send requests can read what --auth may read there."`
	ZnodesBytes    byteSize      `placeholder:"SIZE" default:"64MiB" help:"Memory for what was read of --znodes."`
	ConsulDC       string        `name:"consul-datacenter" placeholder:"NAME" default:"${consul_datacenter}" help:"Name of the datacenter in answers to clients of Consul."`
	MaxStale       time.Duration `placeholder:"DURATION" default:"${max_stale}" help:"Greatest age of an answer while ZooKeeper is away. Beyond it requests get 503. 0 means no limit."`
	Snapshot       string        `placeholder:"FILE" help:"Save the cache's content to this file. If magellan starts while ZooKeeper is away, it serves that content as STALE. Each server needs a file of its own."`
	SnapshotEvery  time.Duration `placeholder:"DURATION" default:"${snapshot_every}" help:"Interval at which the snapshot is written."`
	ShrinkGuard    int           `placeholder:"PERCENT" default:"${shrink_guard}" help:"If more than this part of the datacenters, regions, bad citizens or instances of a service is lost at once, go on serving them until they are back or an operator accepts the loss. 0 turns the guard off."`
	Settle         time.Duration `placeholder:"DURATION" default:"0s" help:"If a service loses instances, show that after this time only, or when others have come in their place, so that a registration that is renewed is one change. By default each change is shown at once."`
	AuditRate      int           `placeholder:"N" default:"${audit_rate}" help:"Each second, read this many shops, and this many names of shops that do not exist, again and compare them with the cache. Regions, datacenters and lists are compared within a minute, and services in turn. 0 turns all of this off."`
	RequestTimeout time.Duration `placeholder:"DURATION" default:"${request_timeout}" help:"How long a request may wait for ZooKeeper. After that it gets 504."`
	MaxWait        time.Duration `placeholder:"DURATION" default:"${max_wait}" help:"How long a long poll may wait, even if its client prefers more."`
	MaxPolls       int           `placeholder:"N" default:"${max_polls}" help:"How many long polls may wait at once. Further ones are refused."`
	MaxStreams     int           `placeholder:"N" default:"${max_streams}" help:"How many streams may be open at once. Further ones are refused."`
	CORSOrigins    []string      `name:"cors-origin" placeholder:"ORIGIN" help:"Origins whose pages may read answers in a browser, by GET and HEAD, separated by commas: https://shop.example, or * for all. Without this flag no page of another origin may."`
	AccessLog      string        `placeholder:"FORMAT" enum:",off,json,combined" default:"" help:"Log each request: json, or combined (Apache's format). off, the default, logs none."`
	AccessLogFile  string        `placeholder:"FILE" help:"Append the access log to this file. -, the default, is stdout. --access-log must name the format. If lines come faster than they can be written, some are dropped."`
	TrustedProxies []string      `placeholder:"CIDR" help:"Proxies whose X-Forwarded-For or Forwarded header the access log believes, separated by commas: addresses or prefixes, and unix for all clients of the socket of --listen=unix:PATH."`
	StartTimeout   time.Duration `placeholder:"DURATION" default:"30s" help:"How long to wait for ZooKeeper at the start. After that magellan ends with an error."`
	DrainDelay     time.Duration `placeholder:"DURATION" default:"1s" help:"How long to go on serving after SIGTERM. During this time /readyz fails, and clients are asked to close their connections. Choose more than the time in which load balancers notice this."`
	Drain          time.Duration `placeholder:"DURATION" default:"30s" help:"How long requests under way may take after --drain-delay. Then their connections are closed."`
	CreateRoot     bool          `help:"Create the root znode and its directories if they do not exist."`
	ReadyFile      string        `placeholder:"FILE" help:"When ready, write the addresses and the process id to this file, as JSON. The file is deleted at the end."`

	tokenFlags
	nativeFlags    `group:"native"`
	zookeeperFlags `group:"ZooKeeper"`
	logFlags       `group:"Log"`
}

// Help lists the layouts that --services knows.
func (c *serveCommand) Help() string {
	var b strings.Builder
	b.WriteString("Layouts of --services:\n\n")
	for _, l := range services.Layouts() {
		fmt.Fprintf(&b, "    %-10s %s\n", l.Name, l.Summary)
	}
	return b.String()
}

// Validate checks what kong does not.
func (c *serveCommand) Validate() error {
	for name, d := range map[string]time.Duration{"max-stale": c.MaxStale, "drain": c.Drain, "drain-delay": c.DrainDelay} {
		if d < 0 {
			return fmt.Errorf("--%s: %v is negative", name, d)
		}
	}
	for name, d := range map[string]time.Duration{"request-timeout": c.RequestTimeout, "start-timeout": c.StartTimeout, "max-wait": c.MaxWait} {
		if d <= 0 {
			return fmt.Errorf("--%s: %v is not a positive duration", name, d)
		}
	}
	if c.MaxPolls <= 0 || c.MaxStreams <= 0 {
		return errors.New("--max-polls, --max-streams: want at least 1")
	}
	if c.SnapshotEvery <= 0 {
		return fmt.Errorf("--snapshot-every: %v is not a positive duration", c.SnapshotEvery)
	}
	if c.ShrinkGuard < 0 || c.ShrinkGuard > 100 {
		return fmt.Errorf("--shrink-guard: %d is no percentage", c.ShrinkGuard)
	}
	if c.Settle < 0 {
		return fmt.Errorf("--settle: %v is negative", c.Settle)
	}
	if c.AuditRate < 0 {
		return fmt.Errorf("--audit-rate: %d is negative", c.AuditRate)
	}
	if c.Snapshot != "" {
		if dir, err := os.Stat(filepath.Dir(c.Snapshot)); err != nil || !dir.IsDir() {
			return fmt.Errorf("--snapshot: there is no directory %s: create it", filepath.Dir(c.Snapshot))
		}
	}
	if c.AccessLogFile != "" && c.AccessLog == "" {
		return errors.New("--access-log-file: there is no access log without its format: give --access-log=json or --access-log=combined, or --access-log=off for none")
	}
	if _, _, err := c.trustedProxies(); err != nil {
		return err
	}
	if _, err := c.mounts(); err != nil {
		return err
	}
	if _, err := c.subtrees(); err != nil {
		return err
	}
	for _, origin := range c.CORSOrigins {
		if err := httpapi.CheckOrigin(origin); err != nil {
			return fmt.Errorf("--cors-origin: %w", err)
		}
	}
	if strings.HasPrefix(c.AdminListen, unixPrefix) {
		return fmt.Errorf("--admin-listen: operators are answered by TCP only: write %s, or another loopback address", admin.DefaultListen)
	}
	if c.CacheBytes <= 0 {
		return errors.New("--cache-bytes: want at least 1")
	}
	if c.ZnodesBytes <= 0 {
		return errors.New("--znodes-bytes: want at least 1")
	}
	return c.nativeFlags.Validate()
}

// mounts returns what --services names.
func (c *serveCommand) mounts() (mounts []*services.Mount, err error) {
	for _, text := range c.Services {
		m, err := services.ParseMount(text)
		if err != nil {
			return nil, fmt.Errorf("--services: %w", err)
		}
		mounts = append(mounts, m)
	}
	return mounts, nil
}

// subtrees returns what --znodes names.
func (c *serveCommand) subtrees() (shown znodes.Subtrees, err error) {
	for _, text := range c.Znodes {
		path, err := discovery.ParsePath(text)
		if err != nil {
			return nil, fmt.Errorf("--znodes: %q: %w", text, err)
		}
		shown = append(shown, path)
	}
	return shown, nil
}

// servesShops reports whether shops are served. If there is something else to serve, somebody who
// has no shops need not make a root for them.
func (c *serveCommand) servesShops() bool {
	return c.Root != "" || len(c.Services) == 0 && len(c.Znodes) == 0
}

// Run serves until ctx ends.
func (c *serveCommand) Run(ctx context.Context, con *console) error {
	log := c.logger(con.err)
	// Under the address sanitizer jemalloc is not linked.
	if err := jemalloc.Check(); err != nil && !errors.Is(err, jemalloc.ErrNotLinked) {
		return err
	}
	c.logProfiling(log)
	accessLog, err := c.openAccessLog(con.out)
	if err != nil {
		return err
	}
	defer accessLog.Close() // after the server
	s, err := c.newServer(ctx, log, con.err, accessLog)
	if ctx.Err() != nil && err != nil {
		return nil // stopped before it began
	} else if err != nil {
		return err
	}
	defer s.close()
	s.serve()
	log.Info("listening", "api", addressOf(s.listener), "admin", s.admin.Addr(), "pid", os.Getpid())

	if err := s.waitReady(ctx); err != nil {
		return err
	}
	if ok, err := s.waitWhole(ctx); err != nil {
		return err
	} else if ok && c.ReadyFile != "" {
		if err := s.writeReadyFile(); err != nil {
			return err
		}
		defer os.Remove(c.ReadyFile)
	}
	if ctx.Err() == nil {
		log.Info("ready")
	}
	select {
	case <-ctx.Done():
	case err := <-s.failed:
		return err
	}
	s.drain()
	return nil
}

// waitWhole waits until every unreadable znode has been repaired, or accepted by an
// operator. Meanwhile requests that need such a znode get 503, and the others are
// answered. It reports whether the wait ended before ctx.
func (s *server) waitWhole(ctx context.Context) (ok bool, err error) {
	const look = 100 * time.Millisecond
	if err := s.ready(); err != nil && ctx.Err() == nil {
		s.log.Warn("not ready: requests that need an unreadable znode get 503, others are answered", "reason", err)
	}
	for ctx.Err() == nil && len(s.cache.NeverRead()) > 0 {
		select {
		case <-ctx.Done():
		case err := <-s.failed:
			return false, err
		case <-time.After(look):
		}
	}
	return ctx.Err() == nil, nil
}

// server has the parts that serve puts together. Data flows from the cache to the two
// HTTP servers. They are stopped in the opposite order.
type server struct {
	*serveCommand
	log      *slog.Logger
	stderr   io.Writer // for jemalloc's summary at the end
	native   *pprof.Recorder
	layout   shops.Layout
	cache    *cache.Cache
	aside    *cache.Cache // of znodes; nil if none are shown
	api      *httpapi.Server
	listener net.Listener // of api
	admin    *admin.Server
	failed   chan error
}

func (c *serveCommand) newServer(ctx context.Context, log *slog.Logger, stderr io.Writer, accessLog *accessLogFile) (s *server, err error) {
	s = &server{serveCommand: c, log: log, stderr: stderr, failed: make(chan error, 2)}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	if s.layout, err = c.layout(); err != nil {
		return s, err
	}
	zookeeper, err := c.config(log)
	if err != nil {
		return s, err
	}
	token, err := c.token()
	if err != nil {
		return s, err
	}
	metrics := prometheus.NewRegistry()
	metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), buildInfo())
	if zookeeper.Observer, err = zkmetrics.New(metrics); err != nil {
		return s, err
	}
	if s.listener, err = listen("--listen", c.Listen); err != nil {
		return s, err
	}
	if s.native, err = c.recorder(log, metrics); err != nil {
		return s, err
	}
	if c.CreateRoot && c.servesShops() {
		if err = s.createRoot(ctx); err != nil {
			return s, err
		}
	}
	root := s.layout.Root
	if !c.servesShops() {
		root = "/" // whether a mount exists is known of each one
	}
	s.cache, err = cache.New(cache.Config{
		ZooKeeper: zookeeper, Root: root, MaxBytes: int64(c.CacheBytes), Logger: log, Registerer: metrics,
		MaxStale: c.MaxStale, Snapshot: c.Snapshot, SnapshotInterval: c.SnapshotEvery, ShrinkGuard: c.ShrinkGuard, Settle: c.Settle, AuditRate: c.AuditRate,
	})
	if err != nil {
		return s, err
	}
	shopService, err := s.addShops()
	if err != nil {
		return s, err
	}
	registry, err := s.addServices()
	if err != nil {
		return s, err
	}
	if err = s.cache.Start(); err != nil {
		return s, openFailed(err)
	}
	znodeService, err := s.addZnodes(zookeeper, metrics)
	if err != nil {
		return s, err
	}
	s.admin, err = admin.New(admin.Config{
		Listen: c.AdminListen, Token: token, Gatherer: metrics,
		Routes: append(cacheRoutes(s.held()), nativeRoutes(s.native)...), Logger: log,
	})
	if errors.Is(err, admin.ErrNoToken) {
		return s, fail(exitUsage, "--admin-listen: %w; MAGELLAN_ADMIN_TOKEN or --admin-token-file set it", err)
	} else if err != nil {
		return s, listenFailed("--admin-listen", err)
	}
	proxies, trustUnix, err := c.trustedProxies()
	if err != nil {
		return s, err
	}
	s.api, err = httpapi.New(httpapi.Config{
		AccessLog: accessLog.writer(), AccessFormat: httpapi.AccessFormat(c.AccessLog), TrustedProxies: proxies, TrustUnix: trustUnix,
		Service: shopService, Services: registry, Znodes: znodeService, ConsulDatacenter: c.ConsulDC, Ready: s.ready, Logger: log, Registerer: metrics,
		RequestTimeout: c.RequestTimeout, DrainDelay: c.DrainDelay, MaxConns: maxConns(),
		MaxWait: c.MaxWait, MaxPolls: c.MaxPolls, MaxStreams: c.MaxStreams, CORSOrigins: c.CORSOrigins,
	})
	return s, err
}

// addShops has the cache mirror shops, and returns what answers about them; nil if no shops are
// served.
func (s *server) addShops() (*shops.Service, error) {
	if !s.servesShops() {
		return nil, nil
	}
	reader := &shops.Mirrors{
		Homes:      cache.AddKeyed(s.cache, s.layout.Homes()),
		Topologies: cache.AddView(s.cache, s.layout.Topologies()),
		Blocklists: cache.AddView(s.cache, s.layout.Blocklists()),
		Watcher:    s.cache,
	}
	return shops.New(shops.Config{Reader: reader, MaxStale: s.MaxStale})
}

// addServices has the cache mirror the mounts of --services, and returns what answers about them;
// nil if there are none.
func (s *server) addServices() (*services.Registry, error) {
	mounts, err := s.mounts()
	if err != nil || len(mounts) == 0 {
		return nil, err
	}
	var mounted []services.Mounted
	for _, m := range mounts {
		mounted = append(mounted, services.Mounted{Mount: m, Reader: cache.AddTree(s.cache, m.Tree())})
	}
	return services.New(services.Config{Mounts: mounted, Watcher: s.cache, MaxStale: s.MaxStale})
}

// addZnodes starts a cache of its own for the subtrees of --znodes, and returns what answers about
// them; nil if there are none.
//
// Anybody's clients ask for these znodes, whichever they are. So they have memory and sessions of
// their own: they evict nobody's shops, and the removal of their watches removes no other watch on
// the same znode. No snapshot keeps them, because a znode that was read before the restart may have
// become secret since.
func (s *server) addZnodes(zookeeper zk.Config, metrics prometheus.Registerer) (*znodes.Service, error) {
	shown, err := s.subtrees()
	if err != nil || len(shown) == 0 {
		return nil, err
	}
	s.aside, err = cache.New(cache.Config{
		ZooKeeper: zookeeper, Root: "/", MaxBytes: int64(s.ZnodesBytes), Logger: s.log.With("cache", "znodes"), Registerer: metrics,
		InFlight:      128, // a MiB each, if all are as large as znodes may be
		MetricsPrefix: "magellan_znodes_", MaxStale: s.MaxStale, AuditRate: s.AuditRate,
	})
	if err != nil {
		return nil, err
	}
	bytes, children := cache.AddKeyed(s.aside, znodes.Bytes(shown)), cache.AddKeyed(s.aside, znodes.Children(shown))
	if err := s.aside.Start(); err != nil {
		s.aside = nil // Start has closed it
		return nil, openFailed(err)
	}
	return znodes.New(znodes.Config{Shown: shown, Bytes: bytes, Children: children, Watcher: s.aside, MaxStale: discovery.Bound(s.MaxStale)})
}

// held is what operators can ask the caches.
func (s *server) held() held {
	if s.aside == nil {
		return s.cache
	}
	return bothCaches{s.cache, s.aside}
}

// maxConns is how many connections clients may have: the number of file descriptors
// minus a reserve for operators and ZooKeeper sessions.
func maxConns() int {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 0
	}
	n := min(limit.Cur, 1<<30)
	return max(1, int(n-max(min(n/2, 256), n/8)))
}

// buildInfo is a metric that is always 1. Its labels are the version and the commit.
func buildInfo() prometheus.Collector {
	v, commit := buildVersion()
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "magellan_build_info", Help: "Always 1; the labels are the version and the commit.",
		ConstLabels: prometheus.Labels{"version": v, "commit": commit},
	})
	info.Set(1)
	return info
}

// serve begins to answer: /healthz, /readyz and operators' requests at once, other
// requests when the cache is ready.
func (s *server) serve() {
	go func() {
		if err := s.admin.Serve(); err != nil {
			s.failed <- err
		}
	}()
	go func() {
		if err := s.api.Serve(s.listener); err != nil {
			s.failed <- err
		}
	}()
}

// waitReady waits until the cache is ready. It also returns nil if ctx ends first.
func (s *server) waitReady(ctx context.Context) error {
	starting, cancel := context.WithTimeout(ctx, s.StartTimeout)
	defer cancel()
	err := s.cache.WaitReady(starting)
	if err == nil && s.aside != nil {
		err = s.aside.WaitReady(starting)
	}
	switch {
	case err == nil || ctx.Err() != nil:
		return nil
	case errors.Is(err, cache.ErrNoRoot) && !s.servesShops():
		return fail(exitNotFound, "ZooKeeper at %s has no znode /: check the chroot in --servers", s.servers())
	case errors.Is(err, cache.ErrNoRoot):
		return fail(exitNotFound, "the root znode %s does not exist on ZooKeeper at %s: "+
			"fill it with magellan import, create it with --create-root, or check --root%s", s.layout.Root, s.servers(), s.orChroot())
	case starting.Err() != nil:
		s.log.Debug("gave up", "error", err)
		return s.unreachable(s.StartTimeout, err)
	}
	return err
}

// createRoot creates the root and the directories in it, before the cache needs them.
func (s *server) createRoot(ctx context.Context) error {
	client, err := s.connect(ctx, s.StartTimeout, nil)
	if err != nil {
		return err
	}
	defer client.Close()
	acl, err := s.newACL("")
	if err != nil {
		return err
	}
	w := &writer{client: client, patience: s.StartTimeout, acl: acl}
	for _, child := range []string{s.layout.Region("-"), s.layout.Datacenter("-"), s.layout.BadCitizenList("-"), s.layout.ShopsDir() + "/-"} {
		if err := w.makeParents(ctx, child); errors.Is(err, zk.ErrNoAuth) {
			return fmt.Errorf("--create-root: %w: give credentials that may create it with --auth (MAGELLAN_AUTH)", err)
		} else if err != nil {
			return fmt.Errorf("--create-root: %w", err)
		}
	}
	return nil
}

// ready returns nil if a load balancer should send requests here, or else the reason why
// not.
func (s *server) ready() error {
	age, ok := s.cache.ReadyAge()
	unread := s.cache.NeverRead()
	why := s.cache.Refused()
	switch {
	case !ok && why == nil:
		return errors.New("ZooKeeper has not been read yet")
	case !ok:
		return fmt.Errorf("ZooKeeper has not been read yet: %w", why)
	case len(unread) > 0:
		const most = 10
		more := ""
		if n := len(unread) - most; n > 0 {
			unread, more = unread[:most], fmt.Sprintf(" and %d more", n)
		}
		return fmt.Errorf("%s%s could never be read: repair it, or go on without it by POST /admin/accept/…; /admin/problems has the reason",
			strings.Join(unread, ", "), more)
	case s.MaxStale == 0 || age <= s.MaxStale:
		return nil
	case why == nil:
		why = errors.New("ZooKeeper is away, or /admin/problems has the reason")
	}
	return fmt.Errorf("answers were last known to be true %v ago, more than the %v of --max-stale: %w", age.Round(time.Second), s.MaxStale, why)
}

// writeReadyFile writes the file atomically, so that no program that waits for it reads
// half of it.
func (s *server) writeReadyFile() error {
	content, err := json.Marshal(map[string]any{
		"listen": addressOf(s.listener), "admin": s.admin.Addr().String(), "pid": os.Getpid(),
	})
	if err != nil {
		return err
	}
	file, err := renameio.TempFile(filepath.Dir(s.ReadyFile), s.ReadyFile)
	if err != nil {
		return fmt.Errorf("--ready-file: %w", err)
	}
	defer file.Cleanup()
	_, err = file.Write(append(content, '\n'))
	if err == nil {
		err = file.CloseAtomicallyReplace()
	}
	if err != nil {
		return fmt.Errorf("--ready-file: %w", err)
	}
	return nil
}

// drain stops the servers without dropping a request, unless it takes longer than
// s.Drain.
func (s *server) drain() {
	s.log.Info("stopping", "drain_delay", s.DrainDelay, "drain", s.Drain)
	ctx, cancel := context.WithTimeout(context.Background(), s.DrainDelay+s.Drain)
	defer cancel()
	if err := s.api.Shutdown(ctx); err != nil {
		s.log.Warn("not all requests have ended in time", "error", err)
	}
	// Operators may watch until the last request has ended.
	if err := s.admin.Shutdown(ctx); err != nil {
		s.log.Warn("operators' requests were cut off", "error", err)
	}
}

// close closes all parts, in whatever state s is.
func (s *server) close() {
	ended, cancel := context.WithCancel(context.Background())
	cancel() // requests that are still under way are cut off
	if s.api != nil {
		_ = s.api.Shutdown(ended)
	}
	if s.listener != nil {
		_ = s.listener.Close() // mostly closed before
	}
	if s.admin != nil {
		_ = s.admin.Shutdown(ended)
	}
	for _, c := range []*cache.Cache{s.aside, s.cache} {
		if c == nil {
			continue
		}
		if err := c.Close(); err != nil {
			s.log.Warn("closing the cache", "error", err)
		}
	}
	// Memory that is in use now was leaked, or belongs to parts that still run.
	if s.native != nil {
		s.report(s.native, s.log, s.stderr)
	}
	s.log.Info("stopped")
}
