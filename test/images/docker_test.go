package images

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// patience bounds whatever is waited for: valgrind is slow, and machines are busy.
const patience = 4 * time.Minute

// adminToken is the operators' token of all containers here.
const adminToken = "token-of-the-tests"

// image returns NAME with the tag under test.
func image(t *testing.T, name string) string {
	t.Helper()
	tag := os.Getenv("MAGELLAN_TEST_IMAGES")
	if tag == "" {
		t.Skip("no images to test: run make test-images")
	}
	return name + ":" + tag
}

// run runs a program and returns what it printed, on both outputs.
func run(name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out)), err
}

// docker runs the client, which must succeed.
func docker(t *testing.T, args ...string) string {
	t.Helper()
	out, err := run("docker", args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// poll calls f until it returns nil.
func poll(t *testing.T, what string, f func() error) {
	t.Helper()
	err := f()
	for deadline := time.Now().Add(patience); err != nil; err = f() {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not after %v: %v", what, patience, err)
		}
		<-time.After(100 * time.Millisecond) // between two looks
	}
}

// host is a network with a ZooKeeper server that holds the sample data.
type host struct{ network string }

func newHost(t *testing.T) host {
	t.Helper()
	h := host{network: fmt.Sprintf("magellan-test-%d-%s", os.Getpid(), strings.ToLower(t.Name()))}
	docker(t, "network", "create", h.network)
	t.Cleanup(func() {
		if _, err := run("docker", "network", "rm", h.network); err != nil {
			t.Error(err)
		}
	})
	zoo := h.start(t, "--network-alias=zoo", "--env=ID=1", "--env=SERVERS=zoo", image(t, "magellan-zookeeper"))
	zoo.waitHealthy(t)
	sample, err := filepath.Abs("../../demo/sample")
	if err != nil {
		t.Fatal(err)
	}
	docker(t, "run", "--rm", "--network="+h.network, "--volume="+sample+":/sample:ro", image(t, "magellan"), "import", "--servers=zoo:2181", "--timeout="+patience.String(),
		"/sample/regions.csv", "/sample/datacenters.jsonl", "/sample/shops.csv", "/sample/fraud.txt")
	return h
}

// container is one that runs until the test ends.
type container struct{ id string }

// start runs an image in the background: options, image, command.
func (h host) start(t *testing.T, args ...string) container {
	t.Helper()
	options := []string{"run", "--detach", "--network=" + h.network}
	c := container{docker(t, append(options, args...)...)}
	t.Cleanup(func() {
		if t.Failed() {
			logs, _ := run("docker", "logs", "--tail=60", c.id)
			t.Logf("%s says:\n%s", strings.Join(args, " "), logs)
		}
		if _, err := run("docker", "rm", "--force", "--volumes", c.id); err != nil {
			t.Error(err)
		}
	})
	return c
}

// serving are the options of a container that serves the sample data.
func serving(more ...string) []string {
	return append([]string{
		"--publish=127.0.0.1::8080", "--publish=127.0.0.1::6060", "--env=MAGELLAN_SERVERS=zoo:2181",
		"--env=MAGELLAN_ADMIN_LISTEN=:6060", "--env=MAGELLAN_ADMIN_TOKEN=" + adminToken, "--env=MAGELLAN_START_TIMEOUT=" + patience.String(),
	}, more...)
}

func (c container) inspect(t *testing.T, format string) string {
	t.Helper()
	return docker(t, "inspect", "--format", format, c.id)
}

// running fails at once if the container has ended: nothing is worth waiting for.
func (c container) running(t *testing.T) {
	t.Helper()
	if state := c.inspect(t, "{{.State.Status}}"); state != "running" {
		t.Fatalf("the container has %s", state)
	}
}

func (c container) waitHealthy(t *testing.T) {
	t.Helper()
	poll(t, "healthy", func() error {
		c.running(t)
		if health := c.inspect(t, "{{.State.Health.Status}}"); health != "healthy" {
			return fmt.Errorf("it is %s", health)
		}
		return nil
	})
}

// url returns where a port of the container is, from here.
func (c container) url(t *testing.T, port string) string {
	t.Helper()
	return "http://" + strings.Fields(docker(t, "port", c.id, port))[0]
}

// ask sends a request with the operators' token.
func ask(method, url string) (int, string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, url, nil)
	if err != nil {
		return 0, "", err
	}
	req.Header.Set("Authorization", "Bearer "+adminToken)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(body), err
}

// want asks and wants that status; it returns the body.
func want(t *testing.T, status int, method, url string) string {
	t.Helper()
	got, body, err := ask(method, url)
	if err != nil || got != status {
		t.Fatalf("%s %s: %d %v, want %d\n%.2000s", method, url, got, err, status, body)
	}
	return body
}

// waitReady waits until the container answers that it is.
func (c container) waitReady(t *testing.T) {
	t.Helper()
	url := c.url(t, "8080") + "/readyz"
	poll(t, "ready", func() error {
		c.running(t)
		status, body, err := ask(http.MethodGet, url)
		if err == nil && status != http.StatusOK {
			err = fmt.Errorf("%d: %s", status, body)
		}
		return err
	})
}

// export returns the container's files as a tar archive.
func export(t *testing.T, image string) []byte {
	t.Helper()
	id := docker(t, "create", image)
	defer func() { docker(t, "rm", id) }()
	var files, complaints bytes.Buffer
	cmd := exec.Command("docker", "export", id)
	cmd.Stdout, cmd.Stderr = &files, &complaints
	if err := cmd.Run(); err != nil {
		t.Fatalf("docker export: %v: %s", err, &complaints)
	}
	return files.Bytes()
}
