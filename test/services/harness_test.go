package services

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"magellan/internal/cache"
	"magellan/internal/httpapi"
	"magellan/internal/services"
	"magellan/internal/zk"
	"magellan/internal/zk/zktest"
)

// patience bounds each wait for what must happen.
const patience = 2 * time.Minute

// world is a ZooKeeper, and a magellan that serves the mounts of a test.
type world struct {
	*testing.T
	server *zktest.Server
	api    http.Handler
}

func newWorld(t *testing.T, mounts ...string) *world {
	t.Helper()
	w := &world{T: t, server: zktest.Start(t)}
	quiet := slog.New(slog.DiscardHandler)
	c, err := cache.New(cache.Config{
		ZooKeeper: zk.Config{Servers: []string{w.server.Addr()}, SessionTimeout: time.Minute, Logger: quiet},
		Root:      "/", Logger: quiet, ShrinkGuard: cache.DefaultShrinkGuard,
	})
	w.must(err)
	cfg := services.Config{Watcher: c}
	for _, text := range mounts {
		m, err := services.ParseMount(text)
		w.must(err)
		cfg.Mounts = append(cfg.Mounts, services.Mounted{Mount: m, Reader: cache.AddTree(c, m.Tree())})
	}
	w.must(c.Start())
	t.Cleanup(func() { c.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	w.must(c.WaitReady(ctx))
	registry, err := services.New(cfg)
	w.must(err)
	api, err := httpapi.New(httpapi.Config{Services: registry, Logger: quiet})
	w.must(err)
	t.Cleanup(func() { api.Shutdown(context.Background()) })
	w.api = api
	return w
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// instance is what these tests look at of an instance.
type instance struct {
	ID, Address, Status string
	Port                *int
	TLS                 bool
	Endpoints           []struct {
		Name, Address string
		Port          *int
		TLS           bool
	}
	Metadata map[string]string
}

// get asks for a service. It returns the instances, in a line each, and X-Cache.
func (w *world) get(name string) (status int, cache string, all []instance) {
	w.Helper()
	rec := httptest.NewRecorder()
	w.api.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/v1/services/"+name, nil))
	var body struct{ Instances []instance }
	if rec.Code == http.StatusOK {
		w.must(json.Unmarshal(rec.Body.Bytes(), &body))
	}
	return rec.Code, rec.Header().Get("X-Cache"), body.Instances
}

// want waits until a service is a HIT with these instances: "ADDRESS:PORT STATUS" each, in order, or
// until it is not found if there is none.
func (w *world) want(name string, want ...string) {
	w.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		status, cache, all := w.get(name)
		var got []string
		for _, i := range all {
			port := "-"
			if i.Port != nil {
				port = fmt.Sprint(*i.Port)
			}
			if i.TLS {
				port += "/tls"
			}
			got = append(got, fmt.Sprintf("%s:%s %s", i.Address, port, i.Status))
		}
		if status == http.StatusNotFound {
			got = append(got, "not found")
		}
		if cache == "HIT" && strings.Join(got, ", ") == strings.Join(want, ", ") {
			return
		}
		if time.Now().After(deadline) {
			w.Fatalf("service %s is %d %s %q, want HIT %q", name, status, cache, got, want)
		}
	}
}

// registrar is a program of others that registers what it is told to.
type registrar struct {
	*testing.T
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Scanner
}

// start starts one, or skips the test if its tool is missing.
func (w *world) start(name string, args ...string) *registrar {
	w.Helper()
	r := &registrar{T: w.T, cmd: exec.Command(name, args...)}
	r.cmd.Stderr = os.Stderr
	in, err := r.cmd.StdinPipe()
	w.must(err)
	out, err := r.cmd.StdoutPipe()
	w.must(err)
	r.in, r.out = in, bufio.NewScanner(out)
	w.must(r.cmd.Start())
	w.Cleanup(func() {
		r.in.Close()
		kill := time.AfterFunc(patience, func() { r.cmd.Process.Kill() })
		defer kill.Stop()
		r.cmd.Wait() // it has been killed, or says itself what was wrong
	})
	r.answer()
	return r
}

// answer reads the program's answer to a command.
func (r *registrar) answer() string {
	r.Helper()
	if !r.out.Scan() {
		r.Fatalf("the registrar has ended: %v", r.out.Err())
	}
	what, ok := strings.CutPrefix(r.out.Text(), "ok")
	if !ok {
		r.Fatalf("the registrar: %s", r.out.Text())
	}
	return strings.TrimSpace(what)
}

// do has the program carry out a command.
func (r *registrar) do(command string) string {
	r.Helper()
	if _, err := io.WriteString(r.in, command+"\n"); err != nil {
		r.Fatal(err)
	}
	return r.answer()
}

// curator starts a Java program that registers with Curator below base.
func (w *world) curator(base string) *registrar {
	w.Helper()
	var jars []string
	for _, jar := range []string{
		"curator-x-discovery", "curator-framework", "curator-client", "jackson-core", "jackson-databind",
		"jackson-annotations", "guava", "zookeeper", "slf4j-api", "slf4j-simple",
	} {
		jars = append(jars, "/usr/share/java/"+jar+".jar")
	}
	for _, file := range jars {
		w.need(file)
	}
	if _, err := exec.LookPath("javac"); err != nil {
		w.missing("javac")
	}
	program, err := filepath.Abs("testdata/Registrar.java")
	w.must(err)
	return w.start("java", "-Xmx128m", "-XX:+UseSerialGC", "-Dorg.slf4j.simpleLogger.defaultLogLevel=error",
		"-cp", strings.Join(jars, ":"), program, w.server.Addr(), base)
}

// kazoo starts a Python program that registers with kazoo.
func (w *world) kazoo() *registrar {
	w.Helper()
	const python = "/usr/bin/python3" // Debian packages kazoo for this one
	if err := exec.Command(python, "-c", "import kazoo").Run(); err != nil {
		w.missing("kazoo")
	}
	program, err := filepath.Abs("testdata/registrar.py")
	w.must(err)
	return w.start(python, program, w.server.Addr())
}

func (w *world) need(file string) {
	w.Helper()
	if _, err := os.Stat(file); err != nil {
		w.missing(file)
	}
}

// missing skips the test, and fails it with CI=true.
func (w *world) missing(what string) {
	w.Helper()
	if os.Getenv("CI") == "true" {
		w.Fatalf("%s is missing: build/deps.sh writers installs it", what)
	}
	w.Skipf("%s is missing: build/deps.sh writers installs it", what)
}
