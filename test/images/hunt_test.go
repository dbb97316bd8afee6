package images

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// The function that leaks C memory on behalf of a request, in the fixture.
const leak = "leak_remember"

// Each tool finds the leak of the fixture in the way that hunt takes, as far as
// this machine lets it; what hunt says where it does not is tested too.
func TestHuntStarted(t *testing.T) {
	debug := image(t, "magellan-debug")
	h := newHost(t)
	// How often it leaks: enough to stand out of what else is not given back.
	for tool, times := range map[string]int{"heaptrack": 3000, "asan": 1000, "valgrind": 300} {
		t.Run(tool, func(t *testing.T) {
			c := h.start(t, serving("--env=HUNT_LEAK=1", "--env=HUNT_SECONDS=100000", debug,
				"hunt", tool, "serve", "--start-timeout=3m", "--session-timeout=30s", "--no-heap-auto-dump")...)
			leakSome(t, c, times)
			docker(t, "stop", "--time=220", c.id)
			report := docker(t, "logs", c.id)
			if !strings.Contains(report, leak) {
				t.Errorf("no %s in what %s reports:\n%s", leak, tool, report)
			}
		})
	}
}

// These look into a process that runs.
func TestHuntRunning(t *testing.T) {
	debug := image(t, "magellan-debug")
	h := newHost(t)
	c := h.start(t, serving("--network-alias=leaking", "--env=MALLOC_CONF=lg_prof_sample:0", debug, "magellan-leak", "serve")...)
	leakSome(t, c, 2000)

	t.Run("jeprof", func(t *testing.T) {
		report := docker(t, "run", "--rm", "--network="+h.network, "--env=HUNT_LEAK=1", "--env=MAGELLAN_ADMIN_TOKEN="+adminToken,
			debug, "hunt", "jeprof", "http://leaking:6060")
		// The other leak, of nothing, on libzookeeper's own thread, is here as well.
		for _, function := range []string{leak, "deserialize_String_vector"} {
			if !strings.Contains(report, function) {
				t.Errorf("no %s in:\n%s", function, report)
			}
		}
	})
	t.Run("gdb", func(t *testing.T) {
		report, err := run("docker", "run", "--rm", "--pid=container:"+c.id, "--cap-add=SYS_PTRACE", debug, "hunt", "gdb", "--pid", "1")
		if strings.Contains(report, "AMX") {
			t.Logf("gdb cannot be used here, and hunt says so: %s", report)
			return
		}
		if err != nil || !strings.Contains(report, leak) {
			t.Errorf("no %s: %v\n%s", leak, err, report)
		}
		// What was looked into goes on.
		want(t, http.StatusOK, http.MethodGet, c.url(t, "8080")+"/v1/shops/42")
	})
	t.Run("gdb without the right", func(t *testing.T) {
		report, err := run("docker", "run", "--rm", "--user=1234", "--pid=container:"+c.id, debug, "hunt", "gdb", "--pid", "1")
		if err == nil || !strings.Contains(report, "SYS_PTRACE") && !strings.Contains(report, "AMX") {
			t.Errorf("want what to do, got %v\n%s", err, report)
		}
	})
	t.Run("check", func(t *testing.T) {
		report := docker(t, "exec", c.id, "hunt", "check")
		for _, tool := range []string{"gdb", "heaptrack", "valgrind", "asan", "jeprof", "bpftrace", "perf"} {
			if !strings.Contains(report, "\n"+tool) && !strings.HasPrefix(report, tool) {
				t.Errorf("nothing on %s in:\n%s", tool, report)
			}
		}
		t.Log(report)
	})
}

// The tools that the story needed are there, and find sources.
func TestDebugContents(t *testing.T) {
	debug := image(t, "magellan-debug")
	noTraces(t, debug)
	script := `for tool in gdb heaptrack valgrind bpftrace strace perf jeprof dot go; do command -v $tool >/dev/null || echo "no $tool"; done
		gdb --batch -ex 'list zookeeper_init' -ex 'list main.main' -ex 'list leak_remember' /usr/local/bin/magellan-leak`
	out := docker(t, "run", "--rm", debug, "bash", "-c", script)
	for _, source := range []string{"zhandle_t *zookeeper_init", "func main()", "last = strdup(name);"} {
		if !strings.Contains(out, source) {
			t.Errorf("gdb does not list %q:\n%s", source, out)
		}
	}
	if strings.Contains(out, "no ") && strings.HasPrefix(out, "no ") {
		t.Error(out)
	}
}

// leakSome waits until the fixture serves and has it leak n times.
func leakSome(t *testing.T, c container, n int) {
	t.Helper()
	c.waitReady(t)
	api := c.url(t, "8080")
	for i := range n {
		status, body, err := ask(http.MethodGet, fmt.Sprintf("%s/v1/shops/%d", api, i%100))
		if err != nil || status != http.StatusOK && status != http.StatusNotFound {
			t.Fatalf("%d %v: %s", status, err, body)
		}
	}
}
