package readers

import (
	"encoding/csv"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"magellan/test/world"
)

// haproxyConf has the directory of all files for each %[1]s, and the lines of the servers for %[2]s.
const haproxyConf = `
global
	stats socket %[1]s/stats level admin
defaults
	mode http
	timeout connect 10s
	timeout client 1m
	timeout server 1m
	retries 0
frontend all
	bind unix@%[1]s/socket
	default_backend cart
backend cart
	balance roundrobin
%[2]s`

// haproxy is an HAProxy that proxies to the instances of the service cart.
type haproxy struct {
	*program
	dir, file, base string
	client          *http.Client
}

func newHAProxy(w *world.World) *haproxy {
	w.Helper()
	h := &haproxy{dir: shortDir(w), file: binary(w, "haproxy"), base: "http://" + w.Serve()}
	h.client = clientOf(filepath.Join(h.dir, "socket"))
	return h
}

func (h *haproxy) conf() string { return filepath.Join(h.dir, "haproxy.cfg") }

// write waits until the lines are the wanted ones, and has HAProxy check them.
func (h *haproxy) write(w *world.World, want string) {
	w.Helper()
	text := lines(w, h.base, "cart", "haproxy", want)
	w.Must(os.WriteFile(h.conf(), fmt.Appendf(nil, haproxyConf, h.dir, text), 0o644))
	out := run(w, exec.Command(h.file, "-c", "-f", h.conf()))
	if warned := strings.Contains(out, "WARNING"); warned != strings.Contains(text, unresolvable) {
		w.Errorf("HAProxy says of\n%s: %s", text, out)
	}
}

// reload has HAProxy take the lines over once they are the wanted ones.
func (h *haproxy) reload(want string) {
	h.Helper()
	h.write(h.World, want)
	h.signal(syscall.SIGUSR2)
}

// wantServers waits until HAProxy has these servers: "NAME STATUS WEIGHT" each.
func (h *haproxy) wantServers(want ...string) {
	h.Helper()
	h.await(fmt.Sprintf("have servers %q", want), func() error {
		c, err := net.DialTimeout("unix", filepath.Join(h.dir, "stats"), world.Patience)
		if err != nil {
			return err
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(world.Patience))
		if _, err := io.WriteString(c, "show stat cart 4 -1\n"); err != nil {
			return err
		}
		table, err := csv.NewReader(c).ReadAll()
		if err != nil || len(table) == 0 {
			return fmt.Errorf("the statistics: %v", err)
		}
		column := map[string]int{}
		for i, name := range table[0] {
			column[name] = i
		}
		var got []string
		for _, row := range table[1:] {
			got = append(got, fmt.Sprintf("%s %s %s", row[column["svname"]], row[column["status"]], row[column["weight"]]))
		}
		return equal(got, want)
	})
}

// TestHAProxy: HAProxy proxies to what the server lines of a backend say, through every change of them.
func TestHAProxy(t *testing.T) {
	t.Parallel()
	w := world.New(t, "curator:/services")
	h := newHAProxy(w)
	a, b := newBackend(w, "a", "127.0.0.1"), newBackend(w, "b", "127.0.0.1")

	register(w, "cart", "a", "127.0.0.1", a, "")
	h.write(w, fmt.Sprintf("server a 127.0.0.1:%d\n", a))
	h.program = startProgram(w, exec.Command(h.file, "-W", "-db", "-f", h.conf()))
	h.wantBackends(h.client, "a")

	register(w, "cart", "b", "127.0.0.1", b, spring(`"weight":"2"`))
	h.reload(fmt.Sprintf("server a 127.0.0.1:%d\nserver b 127.0.0.1:%d weight 2\n", a, b))
	h.wantBackends(h.client, "a", "b")
	h.wantServers("a no check 1", "b no check 2")

	register(w, "cart", "a", "127.0.0.1", a, `,"enabled":false`)
	h.reload(fmt.Sprintf("server a 127.0.0.1:%d disabled\nserver b 127.0.0.1:%d weight 2\n", a, b))
	h.wantBackends(h.client, "b")
	h.wantServers("a MAINT 1", "b no check 2")

	// A name that does not resolve must not stop HAProxy.
	register(w, "cart", "n", unresolvable, 80, "")
	h.reload(fmt.Sprintf("server a 127.0.0.1:%d disabled\nserver b 127.0.0.1:%d weight 2\nserver n %s:80 init-addr last,libc,none\n", a, b, unresolvable))
	h.wantServers("a MAINT 1", "b no check 2", "n MAINT (resolution) 1")
	h.wantBackends(h.client, "b")
	w.Delete("/services/cart/n")
	register(w, "cart", "l", "localhost", b, "") // a name that does
	h.reload(fmt.Sprintf("server a 127.0.0.1:%d disabled\nserver b 127.0.0.1:%d weight 2\nserver l localhost:%d init-addr last,libc,none\n", a, b, b))
	h.wantServers("a MAINT 1", "b no check 2", "l no check 1")

	w.Delete("/services/cart/l")
	w.Delete("/services/cart/b")
	w.Delete("/services/cart/a")
	h.reload("") // no instance
	h.wantBackends(h.client, "503")

	if c := newBackend(w, "c", "::1"); c != 0 {
		register(w, "cart", "c", "::1", c, "")
		h.reload(fmt.Sprintf("server c [::1]:%d\n", c))
		h.wantBackends(h.client, "c")
	}
	register(w, "cart", "c", "127.0.0.1", a, "")
	h.reload(fmt.Sprintf("server c 127.0.0.1:%d\n", a))
	h.wantBackends(h.client, "a")
}

// unresolvable is a host's name that the C library refuses without asking anybody: a part of it has more
// than 63 characters.
var unresolvable = strings.Repeat("x", 64) + ".example"

// TestHAProxyOdd: HAProxy accepts the lines of instances that are out of the ordinary.
func TestHAProxyOdd(t *testing.T) {
	t.Parallel()
	w := world.New(t, "curator:/services", "plain:/plain")
	h := newHAProxy(w)
	w.Put("/plain/cart/1", "10.2.0.7")                                       // no port
	w.Put("/plain/cart/3", `{"host":"10.2.0.8","port":80,"weight":0}`)       // no requests
	w.Put("/plain/cart/5", `{"host":"10.2.0.10","port":65535,"weight":1e9}`) // more than HAProxy knows
	w.Put("/plain/cart/[::ffff:10.2.0.11]:80", "")                           // a name with characters that HAProxy refuses
	w.Put("/plain/cart/é 8#\"'", "10.2.0.12:80")                             // and others
	w.Put("/plain/cart/é 8#\"\\", "10.2.0.13:80")                            // the same name, once they are replaced
	h.write(w, `server 1 10.2.0.7
server 3 10.2.0.8:80 weight 0
server 5 10.2.0.10:65535 weight 256
server _::ffff:10.2.0.11_:80 10.2.0.11:80
server __8___ 10.2.0.12:80
server __8____2 10.2.0.13:80
`)
}

// TestHAProxyNoPort: HAProxy takes what is behind the last colon for a port, so an IPv6 address has
// to be in brackets although it has none.
func TestHAProxyNoPort(t *testing.T) {
	t.Parallel()
	w := world.New(t, "plain:/plain")
	h := newHAProxy(w)
	w.Put("/plain/cart/1", "2001:db8::7")
	h.write(w, "server 1 [2001:db8::7]\n")
}

// TestHAProxyWeights: HAProxy's least weight is 1, and 0 means no requests, which nobody has said of an
// instance with a weight of 0.25.
func TestHAProxyWeights(t *testing.T) {
	t.Parallel()
	w := world.New(t, "plain:/plain")
	h := newHAProxy(w)
	w.Put("/plain/cart/1", `{"host":"10.2.0.9","port":80,"weight":0.25}`)
	h.write(w, "server 1 10.2.0.9:80 weight 1\n")
}
