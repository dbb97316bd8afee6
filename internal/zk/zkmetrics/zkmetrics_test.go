package zkmetrics_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"magellan/internal/zk"
	"magellan/internal/zk/zkmetrics"
)

// gather returns the values of counters and gauges by their names and labels.
func gather(t *testing.T, r *prometheus.Registry) map[string]float64 {
	t.Helper()
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]float64{}
	for _, f := range families {
		if f.GetHelp() == "" || !strings.HasPrefix(f.GetName(), "magellan_zk_") {
			t.Errorf("%s: %q", f.GetName(), f.GetHelp())
		}
		for _, m := range f.GetMetric() {
			key := f.GetName()
			for _, l := range m.GetLabel() {
				key += fmt.Sprintf(" %s=%s", l.GetName(), l.GetValue())
			}
			all[key] = m.GetCounter().GetValue() + m.GetGauge().GetValue() + m.GetHistogram().GetSampleSum()
		}
	}
	return all
}

// All that is told arrives in the metric of its name. Successful requests are there
// from the beginning, as 0.
func TestMetrics(t *testing.T) {
	r := prometheus.NewPedanticRegistry()
	m, err := zkmetrics.New(r)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]float64{"magellan_zk_batch_records": 3}
	of := map[string]zk.Operation{}
	for _, o := range zk.Operations() {
		of[o.String()] = o
		want["magellan_zk_requests_total op="+strings.ReplaceAll(o.String(), " ", "_")+" result=ok"] = 0
	}
	for i, name := range []string{"clients", "requests_in_flight", "sessions_in_doubt", "session_records_total", "handles_opened_total",
		"connections_total", "sessions_expired_total", "sessions_refused_total", "sessions_reopened_total"} {
		want["magellan_zk_"+name] = float64(i + 1)
	}
	if got := gather(t, r); len(got) != len(of)+1+int(zk.NumQuantities) {
		t.Errorf("at first: %v", got)
	}
	for q := range zk.NumQuantities {
		m.Add(q, int(q)+1)
	}
	m.Add(zk.Clients, 5)
	m.Add(zk.Clients, -5)
	m.Answered(of["get acl"], 0)
	m.Answered(of["get"], zk.ErrNoNode)
	m.Answered(of["get"], zk.ErrNoNode)
	m.Answered(of["set"], zk.Code(-9999))
	m.Fired(zk.Created)
	m.Entered(zk.AuthFailed)
	m.Took(3)
	want["magellan_zk_requests_total op=get_acl result=ok"] = 1
	want["magellan_zk_requests_total op=get result=no_node"] = 2
	want["magellan_zk_requests_total op=set result=other"] = 1
	want["magellan_zk_watch_events_total type=Created"] = 1
	want["magellan_zk_state_changes_total state=auth_failed"] = 1
	got := gather(t, r)
	for key, n := range want {
		if got[key] != n {
			t.Errorf("%s is %v, not %v", key, got[key], n)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d values, not %d: %v", len(got), len(want), got)
	}
	if _, err := zkmetrics.New(r); err == nil {
		t.Error("the metrics were registered twice")
	}
}
