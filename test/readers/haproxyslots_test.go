package readers

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"magellan/test/world"
)

// slots is an HAProxy whose backend has three slots.
type slots struct {
	*haproxy
	world *world.World
}

func newSlots(w *world.World) *slots {
	w.Helper()
	for _, tool := range []string{"curl", "socat", "awk"} {
		binary(w, tool)
	}
	s := &slots{newHAProxy(w), w}
	w.Must(os.WriteFile(s.conf(), fmt.Appendf(nil, haproxyConf, s.dir, "\tserver-template slot 1-3 127.0.0.1:1 disabled\n"), 0o644))
	s.start()
	return s
}

// start starts HAProxy.
func (s *slots) start() {
	s.haproxy.program = startProgram(s.world, exec.Command(s.file, "-db", "-f", s.conf()))
}

// script is the script, with its arguments.
func (s *slots) script(args ...string) *exec.Cmd {
	s.world.Helper()
	file, err := filepath.Abs("../../examples/haproxy/magellan-haproxy")
	s.world.Must(err)
	cmd := exec.Command(file, args...)
	cmd.Env = append(os.Environ(), "MAGELLAN="+s.base, "SOCKET="+filepath.Join(s.dir, "stats"), "WAIT=1")
	return cmd
}

// TestHAProxySlots: the script fills the slots of a running HAProxy, through every change of a service,
// and of HAProxy.
func TestHAProxySlots(t *testing.T) {
	t.Parallel()
	w := world.New(t, "curator:/services")
	s := newSlots(w)
	a, b := newBackend(w, "a", "127.0.0.1"), newBackend(w, "b", "127.0.0.1")
	s.wantServers("slot1 MAINT 1", "slot2 MAINT 1", "slot3 MAINT 1")
	script := startProgram(w, s.script("cart", "cart"))

	register(w, "cart", "a", "127.0.0.1", a, "")
	s.wantBackends(s.client, "a")
	register(w, "cart", "b", "127.0.0.1", b, spring(`"weight":"2"`))
	s.wantServers("slot1 no check 1", "slot2 no check 2", "slot3 MAINT 1")
	s.wantBackends(s.client, "a", "b")

	// Others keep their slots.
	w.Delete("/services/cart/a")
	s.wantServers("slot1 MAINT 1", "slot2 no check 2", "slot3 MAINT 1")
	s.wantBackends(s.client, "b")
	register(w, "cart", "c", "127.0.0.1", a, `,"enabled":false`)
	register(w, "cart", "d", unresolvable, 80, "")
	register(w, "cart", "e", "2001:db8::7", 80, "")
	s.wantServers("slot1 MAINT 1", "slot2 no check 2", "slot3 no check 1") // slot1 has the address of c

	// HAProxy is started again, and has its servers soon.
	for _, id := range []string{"c", "d", "e"} {
		w.Delete("/services/cart/" + id)
	}
	s.stop()
	s.start()
	s.wantServers("slot1 no check 2", "slot2 MAINT 1", "slot3 MAINT 1")
	s.wantBackends(s.client, "b")

	// Nothing is known of a service: all stays.
	w.Must(script.Check())
	w.Put("/services/other/x", "{broken")
	w.Must(finish(s.script("--once", "cart", "cart")))
	if err := finish(s.script("--once", "other", "cart")); err == nil {
		t.Error("the script says that all is well although nothing is known of the service")
	}
	s.wantServers("slot1 no check 2", "slot2 MAINT 1", "slot3 MAINT 1")

	// The last instance leaves.
	w.Delete("/services/cart/b")
	s.wantServers("slot1 MAINT 2", "slot2 MAINT 1", "slot3 MAINT 1")
	w.Delete("/services/cart")
	w.Must(finish(s.script("--once", "cart", "cart")))
	script.stop()
}

// finish runs a program, and returns what it has said if it fails.
func finish(cmd *exec.Cmd) error {
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%v: %w: %s", cmd.Args, err, out)
	}
	return nil
}
