package cache

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are the cache's own, collected when they are asked for. What the
// request path counts is left to internal/httpapi.
type metrics struct {
	c *Cache

	evictions, rejections, unkept         prometheus.Counter
	watchEvents, failedLoads              prometheus.Counter
	revalidations                         prometheus.Counter
	guardTrips, audited, drift, hidden    prometheus.Counter
	snapshots, failedSnapshots            prometheus.Counter
	entries, loading, bytes               *prometheus.Desc
	problems, droppedProblems             *prometheus.Desc
	sessions, live, reserved, budgetBytes *prometheus.Desc
	age, guarded, unread, broken          *prometheus.Desc
	snapshotBytes, snapshotTime           *prometheus.Desc
	build                                 *prometheus.HistogramVec
}

func newMetrics(c *Cache) *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: c.cfg.MetricsPrefix + name, Help: help})
	}
	gauge := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(c.cfg.MetricsPrefix+name, help, labels, nil)
	}
	return &metrics{
		c:             c,
		evictions:     counter("evictions_total", "Entries that were evicted for others."),
		rejections:    counter("rejections_total", "Entries that were read but not worth keeping."),
		unkept:        counter("unkept_reads_total", "Things that were read without being kept, because no session had room for their watch."),
		watchEvents:   counter("watch_events_total", "Watch events handled."),
		failedLoads:   counter("failed_reads_total", "Reads of entries that ended without an answer from ZooKeeper."),
		revalidations: counter("revalidations_total", "Entries read again in the background because no watch vouched for them."),
		guardTrips:    counter("shrink_guard_trips_total", "Losses that the shrink guard has held back."),
		audited:       counter("audited_total", "Znodes read again and compared with what is held."),
		drift: counter("drift_total", "Audits that found another value than the one held, though a watch vouched for it. "+
			"Alarm at 1: the cache told an untruth."),
		hidden: counter("hidden_changes_total", "Changes of znodes that could not be read at that moment. ZooKeeper tells nobody of them; "+
			"until they were found the value before was served."),
		snapshots:       counter("snapshots_written_total", "Snapshots written to disk."),
		failedSnapshots: counter("snapshot_failures_total", "Snapshots that could not be written."),
		guarded:         gauge("shrink_guard_held", "Directories, and children with entries, of which the shrink guard serves what ZooKeeper no longer has."),
		unread:          gauge("members_never_read", "Children of a directory that exist and of which nothing is known, because they could never be read; 1 for a directory that cannot be listed.", "set"),
		broken:          gauge("members_stale", "Those of which the last good value is served, as what ZooKeeper holds cannot be read.", "set"),
		snapshotBytes:   gauge("snapshot_bytes", "Size of the last snapshot written."),
		snapshotTime:    gauge("snapshot_timestamp_seconds", "When the last snapshot was written, as Unix time."),
		entries:         gauge("entries", "Entries in memory, absent ones included."),
		loading:         gauge("reads_in_flight", "Entries being read, those that wait included."),
		problems:        gauge("problems", "Znodes that do not parse, may not be read, or have lost too much at once; of each keyed kind the newest 1000."),
		droppedProblems: gauge("problems_unlisted", "Problems of keyed kinds that were found since the start and are not counted there, because newer ones took their place."),
		bytes:           gauge("bytes", "Memory counted against the bound for entries, in bytes."),
		sessions:        gauge("sessions", "ZooKeeper sessions the watches are spread over."),
		live:            gauge("sessions_live", "Those of them that are live now."),
		reserved:        gauge("session_watch_bytes", "Bytes that a session's watches take in the request that sets them again.", "session"),
		budgetBytes:     gauge("session_watch_budget_bytes", "What they may take, the margin excluded."),
		age:             gauge("age_seconds", "Time since the views were last known to be true, all of them."),
		build: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    c.cfg.MetricsPrefix + "view_build_seconds",
			Help:    "Time it took to make a new value of a view after its directories had changed. Until then the value before is served, as UPDATING.",
			Buckets: []float64{100e-6, 250e-6, 500e-6, 1e-3, 2.5e-3, 5e-3, 10e-3, 25e-3, 100e-3, 500e-3, 2.5},
		}, []string{"view"}),
	}
}

func (m *metrics) counters() []prometheus.Counter {
	return []prometheus.Counter{m.evictions, m.rejections, m.unkept, m.watchEvents, m.failedLoads, m.revalidations,
		m.guardTrips, m.audited, m.drift, m.hidden, m.snapshots, m.failedSnapshots}
}

// Describe implements prometheus.Collector.
func (m *metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, c := range m.counters() {
		c.Describe(ch)
	}
	for _, d := range []*prometheus.Desc{m.entries, m.loading, m.problems, m.droppedProblems, m.bytes, m.sessions, m.live, m.reserved, m.budgetBytes, m.age,
		m.guarded, m.unread, m.broken, m.snapshotBytes, m.snapshotTime} {
		ch <- d
	}
	m.build.Describe(ch)
}

// Collect implements prometheus.Collector.
func (m *metrics) Collect(ch chan<- prometheus.Metric) {
	for _, c := range m.counters() {
		c.Collect(ch)
	}
	m.build.Collect(ch)
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	entries, loading := m.c.index.len()
	gauge(m.entries, float64(entries))
	gauge(m.loading, float64(loading))
	problems, dropped := m.c.problems.count()
	gauge(m.problems, float64(problems))
	gauge(m.droppedProblems, float64(dropped))
	gauge(m.bytes, float64(m.c.cfg.MaxBytes-m.c.keep.RemainingCost()))
	gauge(m.guarded, float64(m.c.guarded()))
	for _, v := range m.c.views.all {
		if v.branch != nil {
			continue
		}
		for _, s := range v.sets {
			unread, broken := s.faults()
			gauge(m.unread, float64(unread), s.dir)
			gauge(m.broken, float64(broken), s.dir)
		}
	}
	for _, t := range m.c.views.trees { // all directories of a tree together, because there may be many
		unread, broken := t.faults()
		gauge(m.unread, float64(unread), t.path)
		gauge(m.broken, float64(broken), t.path)
	}
	if at, size := m.c.snapshot.last(); !at.IsZero() {
		gauge(m.snapshotBytes, float64(size))
		gauge(m.snapshotTime, float64(at.UnixMilli())/1000)
	}
	all := m.c.sessions.list()
	live := 0
	for _, s := range all {
		if s.live.Load() {
			live++
		}
		gauge(m.reserved, float64(s.reserved.Load()), strconv.Itoa(s.number))
	}
	gauge(m.sessions, float64(len(all)))
	gauge(m.live, float64(live))
	gauge(m.budgetBytes, float64(m.c.cfg.watchBudget))
	if age, ok := m.c.Age(); ok {
		gauge(m.age, age.Seconds())
	}
}
