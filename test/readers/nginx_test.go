package readers

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"magellan/test/world"
)

// nginxConf has the directory of all files for each %[1]s. The temporary directory of root cannot be
// read by others, so workers stay root.
const nginxConf = `
daemon off;
user root;
worker_processes 1;
pid %[1]s/pid;
events { worker_connections 64; }
http {
	access_log off;
	client_body_temp_path %[1]s/body;
	proxy_temp_path %[1]s/proxy;
	fastcgi_temp_path %[1]s/fastcgi;
	uwsgi_temp_path %[1]s/uwsgi;
	scgi_temp_path %[1]s/scgi;
	upstream cart { include %[1]s/cart.upstream; }
	server {
		listen unix:%[1]s/socket;
		location / { proxy_pass http://cart; }
	}
}
`

// nginx is an nginx that proxies to the instances of the service cart.
type nginx struct {
	*program
	dir, file, base string
	client          *http.Client
}

// command is nginx with more arguments.
func (n *nginx) command(more ...string) *exec.Cmd {
	return exec.Command(n.file, append([]string{"-p", n.dir, "-c", filepath.Join(n.dir, "nginx.conf"), "-e", "stderr"}, more...)...)
}

// include waits until the lines are the wanted ones, and has nginx check them.
func (n *nginx) include(w *world.World, want string) {
	w.Helper()
	text := lines(w, n.base, "cart", "nginx", want)
	w.Must(os.WriteFile(filepath.Join(n.dir, "cart.upstream"), []byte(text), 0o644))
	run(w, n.command("-t"))
}

// reload has nginx take the lines over once they are the wanted ones.
func (n *nginx) reload(want string) {
	n.Helper()
	n.include(n.World, want)
	n.signal(syscall.SIGHUP)
}

// TestNginx: nginx proxies to what the lines of an upstream say, through every change of them.
func TestNginx(t *testing.T) {
	t.Parallel()
	w := world.New(t, "curator:/services")
	n := &nginx{dir: shortDir(w), file: binary(w, "nginx"), base: "http://" + w.Serve()}
	n.client = clientOf(filepath.Join(n.dir, "socket"))
	w.Must(os.WriteFile(filepath.Join(n.dir, "nginx.conf"), fmt.Appendf(nil, nginxConf, n.dir), 0o644))
	a, b := newBackend(w, "a", "127.0.0.1"), newBackend(w, "b", "127.0.0.1")

	register(w, "cart", "a", "127.0.0.1", a, "")
	n.include(w, fmt.Sprintf("server 127.0.0.1:%d;\n", a))
	n.program = startProgram(w, n.command())
	n.wantBackends(n.client, "a")

	register(w, "cart", "b", "127.0.0.1", b, spring(`"weight":"2"`))
	n.reload(fmt.Sprintf("server 127.0.0.1:%d;\nserver 127.0.0.1:%d weight=2;\n", a, b))
	n.wantBackends(n.client, "a", "b")

	register(w, "cart", "a", "127.0.0.1", a, `,"enabled":false`)
	n.reload(fmt.Sprintf("server 127.0.0.1:%d down;\nserver 127.0.0.1:%d weight=2;\n", a, b))
	n.wantBackends(n.client, "b")

	// A name that does not resolve would stop nginx.
	w.Delete("/services/cart/b")
	register(w, "cart", "n", "cart.example", 80, "")
	n.reload(fmt.Sprintf("server 127.0.0.1:%d down;\n# left out, because a name that does not resolve stops nginx: \"cart.example\"\n", a))
	n.wantBackends(n.client, "502")
	w.Delete("/services/cart/a")
	n.reload("# left out, because a name that does not resolve stops nginx: \"cart.example\"\nserver 127.0.0.1:1 down;\n")
	n.wantBackends(n.client, "502")
	w.Delete("/services/cart/n")
	n.reload("server 127.0.0.1:1 down;\n") // no instance
	n.wantBackends(n.client, "502")

	if c := newBackend(w, "c", "::1"); c != 0 {
		register(w, "cart", "c", "::1", c, "")
		n.reload(fmt.Sprintf("server [::1]:%d;\n", c))
		n.wantBackends(n.client, "c")
	}
	register(w, "cart", "c", "127.0.0.1", a, "")
	n.reload(fmt.Sprintf("server 127.0.0.1:%d;\n", a))
	n.wantBackends(n.client, "a")
}

// TestNginxOdd: nginx accepts the lines of instances that are out of the ordinary.
func TestNginxOdd(t *testing.T) {
	t.Parallel()
	w := world.New(t, "curator:/services", "plain:/plain")
	n := &nginx{dir: shortDir(w), file: binary(w, "nginx"), base: "http://" + w.Serve()}
	w.Must(os.WriteFile(filepath.Join(n.dir, "nginx.conf"), fmt.Appendf(nil, nginxConf, n.dir), 0o644))
	w.Put("/plain/cart/1", "10.2.0.7")                                           // no port
	w.Put("/plain/cart/2", "2001:db8::7")                                        // nor this one
	w.Put("/plain/cart/3", `{"host":"10.2.0.8","port":80,"weight":0}`)           // no requests
	w.Put("/plain/cart/4", `{"host":"10.2.0.9","port":80,"weight":0.25}`)        // less than nginx knows
	w.Put("/plain/cart/5", `{"host":"10.2.0.10","port":65535,"weight":1e9}`)     // and more
	w.Put("/plain/cart/6", `{"host":"::ffff:10.2.0.11","port":80,"weight":2.5}`) // IPv4 as IPv6
	w.Put("/plain/cart/7", `{"host":"10.2.0.7","port":80}`)                      // the address of the first
	w.Put("/plain/cart/8", strings.Repeat("long.", 40)+"example:80")             // a long name
	n.include(w, `server 10.2.0.7;
server [2001:db8::7];
server 10.2.0.8:80 down;
server 10.2.0.9:80;
server 10.2.0.10:65535 weight=65535;
server 10.2.0.11:80 weight=3;
server 10.2.0.7:80;
# left out, because a name that does not resolve stops nginx: "`+strings.Repeat("long.", 40)+`example"
`)
}
