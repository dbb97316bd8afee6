package httpapi

import (
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics is the one metric of requests: a histogram counts them as well.
type metrics struct {
	duration *prometheus.HistogramVec
}

// newMetrics makes the metrics and registers them, unless registerer is nil.
func newMetrics(registerer prometheus.Registerer) (*metrics, error) {
	m := &metrics{duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "magellan_http_request_duration_seconds",
		Help: "Time from a request's header to the end of its answer, by route and status. " +
			"Route \"other\" is no route; code 499: the client left before the answer.",
		Buckets: []float64{10e-6, 25e-6, 50e-6, 100e-6, 250e-6, 1e-3, 5e-3, 25e-3, 100e-3, 500e-3, 2.5},
	}, []string{"route", "code"})}
	if registerer == nil {
		return m, nil
	}
	if err := registerer.Register(m.duration); err != nil {
		return nil, fmt.Errorf("httpapi: Config.Registerer: %w", err)
	}
	return m, nil
}

// routeMetrics are one route's, kept so that no request looks labels up.
type routeMetrics struct {
	duration prometheus.ObserverVec                   // by code
	byStatus [600]atomic.Pointer[prometheus.Observer] // of duration; nil until a request ended so
}

// route returns the metrics of a route.
func (m *metrics) route(path string) *routeMetrics {
	return &routeMetrics{duration: m.duration.MustCurryWith(prometheus.Labels{"route": path})}
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
