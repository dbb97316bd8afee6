package images

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// composition is compose.yaml, under a project name of its own.
type composition struct {
	client  []string
	project string
}

func newComposition(t *testing.T) composition {
	t.Helper()
	image(t, "magellan")
	c := composition{client: []string{"docker", "compose"}, project: fmt.Sprintf("magellantest%d", os.Getpid())}
	if exec.Command("docker", "compose", "version").Run() != nil {
		c.client = []string{"docker-compose"}
	}
	t.Setenv("TAG", os.Getenv("MAGELLAN_TEST_IMAGES"))
	t.Setenv("PORT", "0")
	t.Setenv("PROMETHEUS_PORT", "0")
	t.Cleanup(func() {
		if t.Failed() {
			logs, _ := c.run("logs", "--tail=40")
			t.Log(logs)
		}
		if _, err := c.run("down", "--volumes", "--timeout", "5"); err != nil {
			t.Error(err)
		}
	})
	if out, err := c.run("up", "--detach", "--no-build"); err != nil {
		t.Fatal(err, out)
	}
	return c
}

func (c composition) run(args ...string) (string, error) {
	args = append(append(c.client[1:len(c.client):len(c.client)], "--project-name", c.project, "--file", "../../compose.yaml"), args...)
	return run(c.client[0], args...)
}

// service returns the container of a service.
func (c composition) service(t *testing.T, name string) container {
	t.Helper()
	id, err := run("docker", "ps", "--all", "--quiet", "--filter", "label=com.docker.compose.project="+c.project, "--filter", "label=com.docker.compose.service="+name)
	if err != nil || id == "" {
		t.Fatalf("service %s: %q %v", name, id, err)
	}
	return container{id}
}

// leader returns the ZooKeeper server that leads, if it is not the one named.
func (c composition) leader(t *testing.T, not string) (leader string) {
	t.Helper()
	poll(t, "a leader", func() error {
		for _, zoo := range []string{"zoo1", "zoo2", "zoo3"} {
			mode, err := run("docker", "exec", c.service(t, zoo).id, "bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/2181; printf srvr >&3; grep ^Mode: <&3")
			if err == nil && strings.HasSuffix(mode, "leader") && zoo != not {
				leader = zoo
				return nil
			}
		}
		return fmt.Errorf("no server leads")
	})
	return leader
}

// client asks for a shop, 100 times a second, and remembers each answer that is
// not what it has to be.
type client struct {
	url      string
	answered atomic.Int64
	mu       sync.Mutex
	wrong    []string
}

func (c *client) askOnce() {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	complain := func(format string, args ...any) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.wrong = append(c.wrong, time.Now().Format("05.000 ")+fmt.Sprintf(format, args...))
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.url, nil)
	if err != nil {
		complain("%v", err)
		return
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		complain("%v", err)
		return
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	const right = `{"shop":"42","datacenter":"ash2","region":"us-east1"}`
	if err != nil || resp.StatusCode != http.StatusOK || strings.TrimSpace(string(body)) != right {
		complain("%d %s %v", resp.StatusCode, body, err)
		return
	}
	c.answered.Add(1)
}

// ask goes on until stop is called, which waits for what is under way.
func (c *client) ask() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var asking sync.WaitGroup
	asking.Go(func() {
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				asking.Go(c.askOnce)
			}
		}
	})
	return func() { cancel(); asking.Wait() }
}

// more waits for n more answers.
func (c *client) more(t *testing.T, n int64) {
	t.Helper()
	target := c.answered.Load() + n
	poll(t, fmt.Sprintf("%d more answers", n), func() error {
		if got := c.answered.Load(); got < target {
			c.mu.Lock()
			defer c.mu.Unlock()
			return fmt.Errorf("%d to go; failed: %v", target-got, c.wrong[:min(3, len(c.wrong))])
		}
		return nil
	})
}

// targets returns what Prometheus has reached, each as its job and what it is.
func (c composition) targets(t *testing.T) (up []string, err error) {
	t.Helper()
	status, body, err := ask(http.MethodGet, c.service(t, "prometheus").url(t, "9090")+"/api/v1/targets?state=active")
	if err != nil || status != http.StatusOK {
		return nil, fmt.Errorf("%d %s %v", status, body, err)
	}
	var answer struct {
		Data struct {
			ActiveTargets []struct {
				Health, LastError string
				Labels            struct{ Job, Service, Instance string }
			}
		}
	}
	if err := json.Unmarshal([]byte(body), &answer); err != nil {
		return nil, err
	}
	for _, one := range answer.Data.ActiveTargets {
		if one.Health != "up" {
			err = fmt.Errorf("%s of %s is %s: %s", one.Labels.Instance, one.Labels.Job, one.Health, one.LastError)
		}
		up = append(up, strings.Join(strings.Fields(one.Labels.Job+" "+one.Labels.Service+" "+one.Labels.Instance), " "))
	}
	slices.Sort(up)
	return up, err
}

// scrapes waits until Prometheus reaches both magellans, and has the services that are UP from them.
func (c composition) scrapes(t *testing.T) {
	t.Helper()
	want := []string{
		"magellan magellan1:6060", "magellan magellan2:6060",
		"services cart 10.2.0.7:8443", "services cart 10.2.0.8:8443", "services checkout 10.2.1.4:8080", "services web/prod/blog 10.3.0.1:8080",
	}
	poll(t, "Prometheus' targets", func() error {
		up, err := c.targets(t)
		if err == nil && !slices.Equal(up, want) {
			err = fmt.Errorf("Prometheus has the targets %q, want %q", up, want)
		}
		return err
	})
}

// The ensemble loses its leader, then one magellan dies: whoever asks notices
// nothing.
func TestComposeSurvives(t *testing.T) {
	c := newComposition(t)
	c.service(t, "magellan1").waitHealthy(t)
	c.service(t, "magellan2").waitHealthy(t)

	begin := time.Now()
	c.scrapes(t)
	t.Logf("Prometheus has reached its targets after %v", time.Since(begin).Round(time.Second))

	client := &client{url: c.service(t, "nginx").url(t, "8080") + "/v1/shops/42"}
	poll(t, "the first answer", func() error {
		status, body, err := ask(http.MethodGet, client.url)
		if err == nil && status != http.StatusOK {
			err = fmt.Errorf("%d %s", status, body)
		}
		return err
	})
	stop := client.ask()
	defer stop()
	client.more(t, 200)

	leader := c.leader(t, "")
	docker(t, "kill", c.service(t, leader).id)
	next := c.leader(t, leader)
	t.Logf("leader: %s, then %s; %d answers so far", leader, next, client.answered.Load())
	for _, name := range []string{"magellan1", "magellan2"} {
		c.service(t, name).waitHealthy(t)
	}
	client.more(t, 300)
	docker(t, "start", c.service(t, leader).id)
	c.service(t, leader).waitHealthy(t)

	docker(t, "kill", c.service(t, "magellan1").id)
	client.more(t, 500)
	docker(t, "start", c.service(t, "magellan1").id)
	c.service(t, "magellan1").waitHealthy(t)
	client.more(t, 300)
	// The other one now: so the first has to do the work again.
	docker(t, "stop", "--time=40", c.service(t, "magellan2").id)
	client.more(t, 300)

	stop()
	t.Logf("%d answers, %d of them wrong or missing", client.answered.Load()+int64(len(client.wrong)), len(client.wrong))
	if len(client.wrong) > 0 {
		t.Errorf("%d requests failed, such as:\n%s", len(client.wrong), strings.Join(client.wrong[:min(20, len(client.wrong))], "\n"))
	}
}
