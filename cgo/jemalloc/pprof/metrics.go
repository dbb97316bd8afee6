package pprof

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// recorderMetrics are the metrics of a Recorder. Each scrape reads the ledger.
type recorderMetrics struct {
	r *Recorder

	dumps          *prometheus.CounterVec
	failures       prometheus.Counter
	samples        prometheus.Counter
	seconds        prometheus.Counter
	rss, part      *prometheus.Desc
	notResident    *prometheus.Desc
	kept, keptSize *prometheus.Desc
	suspects       *prometheus.Desc
	paused         *prometheus.Desc
	active         *prometheus.Desc
	unwinder       *prometheus.Desc
}

func newMetrics(r *Recorder) *recorderMetrics {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("native_"+name, help, labels, nil)
	}
	m := &recorderMetrics{
		r: r,
		dumps: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "native_heap_dumps_total", Help: "Heap dumps that were kept, by reason: request, baseline, growth or exit.",
		}, []string{"reason"}),
		failures: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "native_heap_dump_failures_total", Help: "Heap dumps that were to be kept and could not be taken or kept.",
		}),
		seconds: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "native_heap_dump_seconds_total", Help: "Processor time spent on taking and describing heap dumps, light samples included.",
		}),
		samples: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "native_heap_samples_total", Help: "Light samples that were taken to rank stacks by their growth.",
		}),
		rss:         desc("memory_rss_bytes", "Resident set of the process."),
		part:        desc("memory_bytes", "What the resident set is made of, by part.", "part"),
		notResident: desc("memory_not_resident_bytes", "What the parts of the resident set exceed it by: memory that was allocated and never written, or is swapped out."),
		kept:        desc("heap_dumps_kept", "Heap dumps that are kept now."),
		keptSize:    desc("heap_dumps_kept_bytes", "What they take, on disk and in memory."),
		suspects:    desc("heap_leak_suspects", "Stacks that grow as a leak does."),
		paused:      desc("heap_samples_paused_seconds", "For how long no light sample has been taken that was due; 0: they are taken. GET leaks says why."),
		active:      desc("heap_profiling_active", "Whether allocations are sampled."),
		unwinder:    desc("heap_unwinder_info", "Which stacks heap profiles have: c+go, c, stock or none.", "kind"),
	}
	for _, why := range []Reason{Requested, Baseline, Grown, Final} {
		m.dumps.WithLabelValues(string(why))
	}
	return m
}

// counted counts a dump that was kept, or that was to be kept and failed.
func (m *recorderMetrics) counted(why Reason, took time.Duration, err error) {
	m.seconds.Add(took.Seconds())
	if err != nil {
		m.failures.Inc()
		return
	}
	m.dumps.WithLabelValues(string(why)).Inc()
}

// sampled counts a light sample, or only its processor time if it failed.
func (m *recorderMetrics) sampled(took time.Duration, err error) {
	m.seconds.Add(took.Seconds())
	if err == nil {
		m.samples.Inc()
	}
}

// Describe implements prometheus.Collector.
func (m *recorderMetrics) Describe(ch chan<- *prometheus.Desc) {
	m.dumps.Describe(ch)
	m.failures.Describe(ch)
	m.samples.Describe(ch)
	m.seconds.Describe(ch)
	for _, d := range []*prometheus.Desc{m.rss, m.part, m.notResident, m.kept, m.keptSize, m.suspects, m.paused, m.active, m.unwinder} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (m *recorderMetrics) Collect(ch chan<- prometheus.Metric) {
	m.dumps.Collect(ch)
	m.failures.Collect(ch)
	m.samples.Collect(ch)
	m.seconds.Collect(ch)
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	if l, err := m.r.source.Ledger(m.r.ctx); err != nil {
		ch <- prometheus.NewInvalidMetric(m.rss, err)
	} else {
		gauge(m.rss, float64(l.RSS))
		for _, p := range l.parts() {
			gauge(m.part, float64(p.bytes), p.name)
		}
		gauge(m.notResident, float64(l.NotResident))
	}
	dumps, bytes := m.r.store.size()
	gauge(m.kept, float64(dumps))
	gauge(m.keptSize, float64(bytes))
	gauge(m.suspects, float64(m.r.ranking().suspects()))
	paused := 0.0
	if p := m.r.paused(time.Now()); p != nil {
		paused = time.Since(p.Since).Seconds()
	}
	gauge(m.paused, max(0, paused))
	active := 0.0
	if stats, err := m.r.source.Stats(m.r.ctx); err == nil && stats.Active {
		active = 1
	}
	gauge(m.active, active)
	gauge(m.unwinder, 1, string(m.r.process.Unwinder))
}
