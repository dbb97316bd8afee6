package services

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"magellan/test/world"
)

// services is a [world.World] with programs that register services.
type services struct{ *world.World }

func newServices(t *testing.T, mounts ...string) *services {
	t.Helper()
	return &services{world.New(t, mounts...)}
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
func (w *services) get(name string) (status int, cache string, all []instance) {
	w.Helper()
	rec := httptest.NewRecorder()
	w.Handler.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/v1/services/"+name, nil))
	var body struct{ Instances []instance }
	if rec.Code == http.StatusOK {
		w.Must(json.Unmarshal(rec.Body.Bytes(), &body))
	}
	return rec.Code, rec.Header().Get("X-Cache"), body.Instances
}

// want waits until a service is a HIT with these instances: "ADDRESS:PORT STATUS" each, in order, or
// until it is not found if there is none.
func (w *services) want(name string, want ...string) {
	w.Helper()
	w.Eventually("service "+name, func() error {
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
			return nil
		}
		return fmt.Errorf("%d %s %q, want HIT %q", status, cache, got, want)
	})
}

// registrar is a program of others that registers what it is told to.
type registrar struct {
	testing.TB
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Scanner
}

// start starts one, or skips the test if its tool is missing.
func (w *services) start(name string, args ...string) *registrar {
	w.Helper()
	r := &registrar{TB: w.TB, cmd: exec.Command(name, args...)}
	r.cmd.Stderr = os.Stderr
	in, err := r.cmd.StdinPipe()
	w.Must(err)
	out, err := r.cmd.StdoutPipe()
	w.Must(err)
	r.in, r.out = in, bufio.NewScanner(out)
	w.Must(r.cmd.Start())
	w.Cleanup(func() {
		r.in.Close()
		kill := time.AfterFunc(world.Patience, func() { r.cmd.Process.Kill() })
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
func (w *services) curator(base string) *registrar {
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
	w.Must(err)
	return w.start("java", "-Xmx128m", "-XX:+UseSerialGC", "-Dorg.slf4j.simpleLogger.defaultLogLevel=error",
		"-cp", strings.Join(jars, ":"), program, w.ZooKeeper.Addr(), base)
}

// kazoo starts a Python program that registers with kazoo.
func (w *services) kazoo() *registrar {
	w.Helper()
	const python = "/usr/bin/python3" // Debian packages kazoo for this one
	if err := exec.Command(python, "-c", "import kazoo").Run(); err != nil {
		w.missing("kazoo")
	}
	program, err := filepath.Abs("testdata/registrar.py")
	w.Must(err)
	return w.start(python, program, w.ZooKeeper.Addr())
}

func (w *services) need(file string) {
	w.Helper()
	if _, err := os.Stat(file); err != nil {
		w.missing(file)
	}
}

// missing skips the test, and fails it with CI=true.
func (w *services) missing(what string) {
	w.Helper()
	w.Missing(what, "build/deps.sh writers")
}
