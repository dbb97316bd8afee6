package readers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"magellan/internal/childproc"
	"magellan/test/world"
)

// program is a program of others that runs as a child.
type program struct {
	*world.World
	*childproc.Process
	log string // the file that has its output
	// stopped: it has been stopped before the end of the test.
	stopped bool
}

// binary finds a program, also where it is not in everybody's PATH. Without the program the test is
// skipped, or fails with CI=true.
func binary(w *world.World, name string) string {
	w.Helper()
	for _, name := range []string{name, "/usr/sbin/" + name} {
		if file, err := exec.LookPath(name); err == nil {
			return file
		}
	}
	w.Missing(name, "build/deps.sh readers")
	return ""
}

// startProgram starts a program, which ends with the test, and not before. Its exit status does not
// matter: HAProxy executes itself again for a reload, and for a moment afterwards has no handler of
// SIGTERM.
func startProgram(w *world.World, cmd *exec.Cmd) *program {
	w.Helper()
	p := &program{World: w, log: filepath.Join(w.TempDir(), "log")}
	var err error
	p.Process, err = childproc.StartLogged(cmd, p.log)
	w.Must(err)
	w.Cleanup(func() {
		if !p.stopped {
			p.stop()
		}
		if w.Failed() {
			w.Logf("the end of the output of %s:\n%s", cmd.Path, p.LastOutput())
		}
	})
	return p
}

// stop ends the program, which must not have ended before.
func (p *program) stop() {
	p.Helper()
	p.stopped = true
	if err := errors.Join(p.Check(), p.Stop(syscall.SIGTERM, world.Patience)); err != nil {
		p.Error(err)
	}
}

// await waits until check returns nil, and fails if the program ends meanwhile.
func (p *program) await(what string, check func() error) {
	p.Helper()
	ctx, cancel := context.WithTimeout(p.Context(), world.Patience)
	defer cancel()
	p.Must(p.Await(ctx, what, check))
}

// shortDir returns a directory whose name is short enough for a unix socket in it. Proxies listen on
// such sockets, because nobody else can take them.
func shortDir(w *world.World) string {
	w.Helper()
	dir, err := os.MkdirTemp("/tmp", "readers-")
	w.Must(err)
	w.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// clientOf returns a client that sends each request on a connection of its own to a unix socket.
func clientOf(socket string) *http.Client {
	return &http.Client{Timeout: world.Patience, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		},
	}}
}

// through sends a request through a proxy. It returns the name of the backend that has answered it, or
// the status if that is not 200.
func through(c *http.Client) (string, error) {
	resp, err := c.Get("http://cart.example/")
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if resp.StatusCode != http.StatusOK {
		return fmt.Sprint(resp.StatusCode), err
	}
	return string(body), err
}

// wantBackends waits until the next requests through a proxy are answered by all of these backends and by no
// others. A backend may be the status of an answer that is none of theirs.
func (p *program) wantBackends(c *http.Client, want ...string) {
	p.Helper()
	p.await(fmt.Sprint("pass requests on to ", want), func() error {
		missing := map[string]bool{}
		for _, name := range want {
			missing[name] = true
		}
		var all []string
		for range 10 * len(want) {
			name, err := through(c)
			if err != nil {
				return err
			}
			all = append(all, name)
			if _, ok := missing[name]; !ok {
				return fmt.Errorf("they go to %q", all)
			}
			missing[name] = false
		}
		for _, name := range want {
			if missing[name] {
				return fmt.Errorf("they go to %q", all)
			}
		}
		return nil
	})
}

// newBackend starts an HTTP server on that loopback address that answers with its name. It returns the
// port. Without the address, as where there is no IPv6, it returns 0.
func newBackend(w *world.World, name, address string) (port int) {
	w.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(address, "0"))
	if err != nil {
		w.Logf("no server on %s: %v", address, err)
		return 0
	}
	s := &http.Server{Handler: http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) { io.WriteString(rw, name) })}
	go s.Serve(l)
	w.Cleanup(func() { s.Close() })
	return l.Addr().(*net.TCPAddr).Port
}

// formatted gets a service in a format.
func formatted(w *world.World, base, service, format string) (body string, err error) {
	resp, err := http.Get(base + "/v1/services/" + service + "?format=" + format)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	all, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", resp.Status, all)
	}
	return string(all), err
}

// lines waits until a service in a format is this text.
func lines(w *world.World, base, service, format, want string) string {
	w.Helper()
	w.Eventually(service+" for "+format, func() error {
		got, err := formatted(w, base, service, format)
		if err == nil && got != want {
			err = fmt.Errorf("got\n%swant\n%s", got, want)
		}
		return err
	})
	return want
}

// run runs a command to its end and returns all of its output. A failure ends the test.
func run(t testing.TB, cmd *exec.Cmd) string {
	t.Helper()
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v\n%s", cmd.Args, err, out)
	}
	return string(out)
}

// signal sends a signal to the program.
func (p *program) signal(sig syscall.Signal) {
	p.Helper()
	p.Must(p.Signal(sig))
}
