package httpapi

import (
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// otherRoute is the name of the route in the metrics and the log if no route takes a request.
const otherRoute = "other"

// metrics are the metrics of requests. The histogram of durations counts the requests as
// well.
type metrics struct {
	duration *prometheus.HistogramVec
	// answers counts the answers that have X-Cache.
	answers *prometheus.CounterVec
	// propagation is the time that a change takes to the clients that wait for it.
	propagation struct{ poll, stream prometheus.Observer }
	streamEnds  *prometheus.CounterVec
}

// newMetrics makes the metrics and registers them, unless registerer is nil.
func newMetrics(s *Server, registerer prometheus.Registerer) (*metrics, error) {
	m := &metrics{duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "magellan_http_request_duration_seconds",
		Help: "Time from a request's header to the end of its answer, by route and status, without the time a long poll waited. " +
			"Route \"other\" is no route; code 499: the client left before the answer.",
		Buckets: []float64{10e-6, 25e-6, 50e-6, 100e-6, 250e-6, 1e-3, 5e-3, 25e-3, 100e-3, 500e-3, 2.5},
	}, []string{"route", "code"})}
	m.answers = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "magellan_http_answers_total",
		Help: "Answers that say how they were come by, by route and by that: the values of X-Cache. Those on streams are not counted.",
	}, []string{"route", "cache"})
	propagation := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "magellan_http_propagation_seconds",
		Help: "Time from a watch event's arrival at the cache to the new bytes being given to who waited for them, " +
			"by a long poll or on a stream.",
		Buckets: []float64{100e-6, 200e-6, 400e-6, 800e-6, 1.6e-3, 3.2e-3, 6.4e-3, 12.8e-3, 50e-3, 200e-3, 1, 5},
	}, []string{"to"})
	m.propagation.poll, m.propagation.stream = propagation.WithLabelValues("poll"), propagation.WithLabelValues("stream")
	m.streamEnds = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "magellan_http_stream_ends_total", Help: "Streams that have ended, by the reason.",
	}, []string{"reason"})
	gauge := func(name, help string, n *atomic.Int64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 { return float64(n.Load()) })
	}
	if registerer == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{
		m.duration, m.answers, propagation, m.streamEnds,
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "magellan_http_access_log_dropped_lines_total", Help: "Lines of the access log that could not be written, or came while too many waited for it.",
		}, func() float64 {
			if s.access == nil {
				return 0
			}
			return float64(s.access.dropped.Load())
		}),
		gauge("magellan_http_polls", "Long polls that wait for a change.", &s.waiting.polls),
		gauge("magellan_http_streams", "Streams that are open.", &s.waiting.streams),
		gauge("magellan_http_stream_keys", "Answers that they watch.", &s.waiting.keys),
	} {
		if err := registerer.Register(c); err != nil {
			return nil, fmt.Errorf("httpapi: Config.Registerer: %w", err)
		}
	}
	return m, nil
}

// routeMetrics are the metrics of one route. They are kept so that no request looks up
// labels.
type routeMetrics struct {
	duration prometheus.ObserverVec                   // by code
	byStatus [600]atomic.Pointer[prometheus.Observer] // of duration; nil until a request has ended with that status
	answers  [len(cacheValues)]prometheus.Counter     // by [discovery.CacheStatus]
}

// route returns the metrics of a route.
func (m *metrics) route(path string) *routeMetrics {
	r := &routeMetrics{duration: m.duration.MustCurryWith(prometheus.Labels{"route": path})}
	for status, value := range cacheValues {
		r.answers[status] = m.answers.WithLabelValues(path, value[0])
	}
	return r
}

// observe counts one request.
func (r *routeMetrics) observe(status int, took time.Duration) {
	observer := r.byStatus[status].Load()
	if observer == nil {
		o := r.duration.WithLabelValues(strconv.Itoa(status))
		observer = &o
		r.byStatus[status].Store(observer)
	}
	(*observer).Observe(took.Seconds())
}
