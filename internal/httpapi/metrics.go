package httpapi

import (
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics counts requests.
type metrics struct {
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
}

// newMetrics makes the metrics and registers them, unless registerer is nil.
func newMetrics(registerer prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "magellan_http_requests_total",
			Help: "Requests by route and status; 499: the client left before the answer.",
		}, []string{"route", "code"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "magellan_http_request_duration_seconds",
			Help:    "Time from a request's header to the end of its answer, by route.",
			Buckets: []float64{10e-6, 25e-6, 50e-6, 100e-6, 250e-6, 1e-3, 5e-3, 25e-3, 100e-3, 500e-3, 2.5},
		}, []string{"route"}),
	}
	if registerer == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.requests, m.duration} {
		if err := registerer.Register(c); err != nil {
			return nil, fmt.Errorf("httpapi: Config.Registerer: %w", err)
		}
	}
	return m, nil
}

// routeMetrics are one route's, so that no request looks labels up.
type routeMetrics struct {
	requests *prometheus.CounterVec // of this route, by code
	byStatus [600]atomic.Pointer[prometheus.Counter]
	duration prometheus.Observer
}

// route returns the metrics of a route.
func (m *metrics) route(path string) *routeMetrics {
	return &routeMetrics{
		requests: m.requests.MustCurryWith(prometheus.Labels{"route": path}),
		duration: m.duration.WithLabelValues(path),
	}
}

// observe counts one request.
func (r *routeMetrics) observe(status int, took time.Duration) {
	counter := r.byStatus[status].Load()
	if counter == nil {
		c := r.requests.WithLabelValues(strconv.Itoa(status))
		counter = &c
		r.byStatus[status].Store(counter)
	}
	(*counter).Inc()
	r.duration.Observe(took.Seconds())
}
