package readers

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"testing"

	"magellan/test/world"
)

// prometheusConf scrapes seldom, because nothing listens where the targets are.
const prometheusConf = `
scrape_configs:
  - job_name: services
    scrape_interval: 1h
    http_sd_configs:
      - url: %s/v1/sd/prometheus
        refresh_interval: 100ms
    relabel_configs:
      - source_labels: [__meta_magellan_service]
        target_label: service
      - source_labels: [__meta_magellan_status]
        regex: UP
        action: keep
`

// prom is a Prometheus that discovers by magellan's list of targets.
type prom struct {
	*program
	url string
}

// listening is the line of Prometheus' log that says which port the kernel has given to it.
var listening = regexp.MustCompile(`msg="Listening on" address=(\S+)`)

func newProm(w *world.World) *prom {
	w.Helper()
	dir, file, base := w.TempDir(), binary(w, "prometheus"), "http://"+w.Serve()
	conf := filepath.Join(dir, "prometheus.yml")
	w.Must(os.WriteFile(conf, fmt.Appendf(nil, prometheusConf, base), 0o644))
	p := &prom{program: startProgram(w, exec.Command(file, "--config.file="+conf,
		"--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address=127.0.0.1:0"))}
	p.await("listen", func() error {
		text, err := os.ReadFile(p.log)
		m := listening.FindSubmatch(text)
		if m == nil {
			return fmt.Errorf("no address in the log: %w", err)
		}
		p.url = "http://" + string(m[1])
		return nil
	})
	return p
}

func (p *prom) get(path string) (body []byte, err error) {
	resp, err := http.Get(p.url + path)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err = io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", resp.Status, body)
	}
	return body, err
}

// promTarget is a target as Prometheus' API has it.
type promTarget struct {
	Discovered map[string]string `json:"discoveredLabels"`
	Labels     map[string]string
}

// targets returns the targets that Prometheus scrapes, and those that its configuration drops.
func (p *prom) targets() (active, dropped []promTarget, err error) {
	body, err := p.get("/api/v1/targets")
	if err != nil {
		return nil, nil, err
	}
	var answer struct {
		Data struct{ ActiveTargets, DroppedTargets []promTarget }
	}
	err = json.Unmarshal(body, &answer)
	return answer.Data.ActiveTargets, answer.Data.DroppedTargets, err
}

// active returns "SERVICE INSTANCE" of each target that Prometheus scrapes, in order.
func (p *prom) active() (all []string, err error) {
	active, _, err := p.targets()
	for _, t := range active {
		all = append(all, t.Labels["service"]+" "+t.Labels["instance"])
	}
	slices.Sort(all)
	return all, err
}

// want waits until Prometheus scrapes these targets.
func (p *prom) want(want ...string) {
	p.Helper()
	p.await(fmt.Sprintf("have targets %q", want), func() error {
		got, err := p.active()
		if err != nil {
			return err
		}
		return equal(got, want)
	})
}

var httpFailures = regexp.MustCompile(`(?m)^prometheus_sd_http_failures_total(?:\{[^}]*\})? (\S+)$`)

// failures counts the lists of targets that Prometheus did not get.
func (p *prom) failures() (n float64) {
	p.Helper()
	body, err := p.get("/metrics")
	p.Must(err)
	m := httpFailures.FindSubmatch(body)
	if m == nil {
		p.Fatal("this Prometheus does not count failures of http_sd")
	}
	n, err = strconv.ParseFloat(string(m[1]), 64)
	p.Must(err)
	return n
}

// TestPrometheus: the program Prometheus follows magellan's list of targets, and keeps its targets
// while there is no list.
func TestPrometheus(t *testing.T) {
	t.Parallel()
	w := world.New(t, "curator:/services", "serverset:/svc")
	register(w, "cart", "a", "127.0.0.1", 1, spring(`"zone":"z1","app version":"7"`))
	register(w, "cart", "b", "::1", 1, `,"enabled":false`) // the configuration drops it
	w.Put("/svc/blog/member_1", `{"serviceEndpoint":{"host":"127.0.0.2","port":1},"additionalEndpoints":{"admin":{"host":"127.0.0.2","port":2}},"status":"ALIVE","shard":3}`)
	p := newProm(w)
	p.want("blog 127.0.0.2:1", "cart 127.0.0.1:1")
	active, dropped, err := p.targets()
	w.Must(err)
	discovered := map[string]string{}
	for _, target := range active {
		for name, value := range target.Discovered {
			if service := target.Labels["service"]; service == "cart" || name == "__meta_serverset_endpoint_port_admin" {
				discovered[name] = value
			}
		}
	}
	for name, want := range map[string]string{
		"__meta_magellan_service":              "cart",
		"__meta_magellan_mount":                "/services",
		"__meta_magellan_zone":                 "z1",
		"__meta_magellan_metadata_app_version": "7",
		"__meta_serverset_endpoint_port_admin": "2",
	} {
		if got := discovered[name]; got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if len(dropped) != 1 || dropped[0].Discovered["__address__"] != "[::1]:1" || dropped[0].Discovered["__meta_magellan_status"] != "OUT_OF_SERVICE" {
		t.Errorf("the target that is dropped is %v", dropped)
	}
	if n := p.failures(); n != 0 {
		t.Errorf("%v lists have failed", n)
	}
	register(w, "cart", "b", "::1", 1, "")
	p.want("blog 127.0.0.2:1", "cart 127.0.0.1:1", "cart [::1]:1")
	w.Delete("/services/cart/a")
	p.want("blog 127.0.0.2:1", "cart [::1]:1")

	w.Put("/services/broken/1", "{broken")
	w.Delete("/svc/blog") // Prometheus does not learn of this meanwhile
	before := p.failures()
	p.await("miss some lists", func() error {
		if n := p.failures(); n < before+20 {
			return fmt.Errorf("only %v", n-before)
		}
		return nil
	})
	got, err := p.active()
	w.Must(err)
	if err := equal(got, []string{"blog 127.0.0.2:1", "cart [::1]:1"}); err != nil {
		t.Error("without a list:", err)
	}
	w.Delete("/services/broken")
	p.want("cart [::1]:1")
}
