package zk

import (
	"fmt"
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics can be shared by any number of Clients of one process.
type Metrics struct {
	requests        *prometheus.CounterVec
	inFlight        prometheus.Gauge
	clients         prometheus.Gauge
	watchEvents     *prometheus.CounterVec
	states          *prometheus.CounterVec
	sessionRecords  prometheus.Counter
	sessionsOpened  prometheus.Counter
	sessionsExpired prometheus.Counter
	connections     prometheus.Counter
	// See refused.go.
	sessionsRefused, sessionsReopened prometheus.Counter
	sessionsInDoubt                   prometheus.Gauge
	batch                             prometheus.Histogram

	// Looking a counter up by its labels would cost more than everything else here.
	ok     [numOps]prometheus.Counter
	others sync.Map // [2]int32{op, code} -> prometheus.Counter
}

// NewMetrics makes the metrics and registers them with r.
func NewMetrics(r prometheus.Registerer) (*Metrics, error) {
	m := newMetrics()
	for _, c := range []prometheus.Collector{m.requests, m.inFlight, m.clients, m.watchEvents, m.states,
		m.sessionRecords, m.sessionsOpened, m.sessionsExpired, m.connections,
		m.sessionsRefused, m.sessionsReopened, m.sessionsInDoubt, m.batch} {
		if err := r.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func newMetrics() *Metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "magellan_zk_" + name, Help: help})
	}
	m := &Metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "magellan_zk_requests_total", Help: "Requests answered, by operation and result."}, []string{"op", "result"}),
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "magellan_zk_requests_in_flight", Help: "Requests that wait for an answer."}),
		clients: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "magellan_zk_clients", Help: "Clients open: a session each."}),
		watchEvents: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "magellan_zk_watch_events_total", Help: "Watches fired, by type of event."}, []string{"type"}),
		states: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "magellan_zk_state_changes_total", Help: "Changes of a client's state, by the new state."}, []string{"state"}),
		sessionRecords:  counter("session_records_total", "Session events that crossed from C: a few for each cut, however many watches there are."),
		sessionsOpened:  counter("handles_opened_total", "libzookeeper handles opened."),
		sessionsExpired: counter("sessions_expired_total", "Sessions that the servers let expire."),
		connections:     counter("connections_total", "Connections made to a server, the first and the later ones."),
		sessionsRefused: counter("sessions_refused_total", "Connections that a server closed before it answered whether the session goes on: "+
			"it lags behind what the session has seen, has lost it, has no quorum, or has too many connections of this address."),
		sessionsReopened: counter("sessions_reopened_total", "Sessions given up for new ones because ZooKeeper had lost transactions that they had seen."),
		sessionsInDoubt: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "magellan_zk_sessions_in_doubt", Help: "Sessions that no server accepts because ZooKeeper has lost transactions that they have seen."}),
		batch: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "magellan_zk_batch_records", Help: "Answers and events taken from C with one call.",
			Buckets: prometheus.ExponentialBuckets(1, 4, 8)}),
	}
	for i := range m.ok {
		m.ok[i] = m.requests.WithLabelValues(label(op(i)), Code(0).label())
	}
	return m
}

// label turns a readable name into a label's value.
func label(name fmt.Stringer) string { return strings.ReplaceAll(name.String(), " ", "_") }

func (m *Metrics) result(o op, code Code) {
	if code == 0 {
		m.ok[o].Inc()
		return
	}
	key := [2]int32{int32(o), int32(code)}
	c, ok := m.others.Load(key)
	if !ok {
		c, _ = m.others.LoadOrStore(key, m.requests.WithLabelValues(label(o), code.label()))
	}
	c.(prometheus.Counter).Inc()
}

func (m *Metrics) watchEvent(t WatchType) { m.watchEvents.WithLabelValues(t.String()).Inc() }

func (m *Metrics) sessionEvent(s State) { m.states.WithLabelValues(label(s)).Inc() }
