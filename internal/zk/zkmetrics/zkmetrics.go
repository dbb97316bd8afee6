package zkmetrics

import (
	"fmt"
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"magellan/internal/zk"
)

// New makes the metrics and registers them with r. The Observer may be that of any
// number of Clients of one process. The error is the registerer's.
func New(r prometheus.Registerer) (zk.Observer, error) {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "magellan_zk_requests_total", Help: "Requests answered, by operation and result."}, []string{"op", "result"}),
		watchEvents: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "magellan_zk_watch_events_total", Help: "Watches fired, by type of event."}, []string{"type"}),
		states: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "magellan_zk_state_changes_total", Help: "Changes of a client's state, by the new state."}, []string{"state"}),
		batch: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "magellan_zk_batch_records", Help: "Answers and events taken from C with one call.",
			Buckets: prometheus.ExponentialBuckets(1, 4, 8)}),
	}
	collectors := []prometheus.Collector{m.requests, m.watchEvents, m.states, m.batch}
	for q, about := range quantities {
		if about.gauge {
			g := prometheus.NewGauge(prometheus.GaugeOpts{Name: "magellan_zk_" + about.name, Help: about.help})
			m.quantities[q] = g
			collectors = append(collectors, g)
		} else {
			c := prometheus.NewCounter(prometheus.CounterOpts{Name: "magellan_zk_" + about.name, Help: about.help})
			m.quantities[q] = c
			collectors = append(collectors, c)
		}
	}
	for _, o := range zk.Operations() {
		m.ok = append(m.ok, m.requests.WithLabelValues(label(o), zk.Code(0).Name()))
	}
	for _, c := range collectors {
		if err := r.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

type metrics struct {
	requests    *prometheus.CounterVec
	watchEvents *prometheus.CounterVec
	states      *prometheus.CounterVec
	batch       prometheus.Histogram
	quantities  [zk.NumQuantities]interface{ Add(float64) }

	// Looking a counter up by its labels would cost more than all else here.
	ok     []prometheus.Counter // by operation
	others sync.Map             // result -> prometheus.Counter
}

// result is what others are found by.
type result struct {
	o    zk.Operation
	code zk.Code
}

var quantities = [zk.NumQuantities]struct {
	name, help string
	gauge      bool
}{
	zk.Clients:          {"clients", "Clients open: a session each.", true},
	zk.RequestsInFlight: {"requests_in_flight", "Requests that wait for an answer.", true},
	zk.SessionsInDoubt: {"sessions_in_doubt",
		"Sessions that no server accepts because ZooKeeper has lost transactions that they have seen.", true},
	zk.SessionRecords: {"session_records_total",
		"Session events that crossed from C: a few for each cut, however many watches there are.", false},
	zk.HandlesOpened:   {"handles_opened_total", "libzookeeper handles opened.", false},
	zk.Connections:     {"connections_total", "Connections made to a server, the first and the later ones.", false},
	zk.SessionsExpired: {"sessions_expired_total", "Sessions that the servers let expire.", false},
	zk.SessionsRefused: {"sessions_refused_total", "Connections that a server closed before it answered whether the session goes on: " +
		"it lags behind what the session has seen, has lost it, has no quorum, or has too many connections of this address.", false},
	zk.SessionsReopened: {"sessions_reopened_total",
		"Sessions given up for new ones because ZooKeeper had lost transactions that they had seen.", false},
}

// label turns a readable name into a label's value.
func label(name fmt.Stringer) string { return strings.ReplaceAll(name.String(), " ", "_") }

// Answered counts a request by its operation and result.
func (m *metrics) Answered(o zk.Operation, code zk.Code) {
	if code == 0 {
		m.ok[o].Inc()
		return
	}
	key := result{o, code}
	c, ok := m.others.Load(key)
	if !ok {
		c, _ = m.others.LoadOrStore(key, m.requests.WithLabelValues(label(o), code.Name()))
	}
	c.(prometheus.Counter).Inc()
}

// Add changes the metric of a quantity.
func (m *metrics) Add(q zk.Quantity, n int) { m.quantities[q].Add(float64(n)) }

// Fired counts a watch by the type of its event.
func (m *metrics) Fired(t zk.WatchType) { m.watchEvents.WithLabelValues(t.String()).Inc() }

// Entered counts a change of a client's state by the new state.
func (m *metrics) Entered(s zk.State) { m.states.WithLabelValues(label(s)).Inc() }

// Took observes how many records one call has taken from C.
func (m *metrics) Took(records int) { m.batch.Observe(float64(records)) }
