package agent

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// patience bounds each wait for what must happen. It is long because machines that run tests
// stand still for seconds.
const patience = 2 * time.Minute

// built is where the tests put what they build. Other users can read it.
var built string

func TestMain(m *testing.M) {
	if len(os.Args) == 4 && os.Args[1] == askArgument {
		os.Exit(askMain(os.Args[2], os.Args[3]))
	}
	os.Exit(func() int {
		var err error
		if built, err = os.MkdirTemp("", "magellan-agent-"); err == nil {
			err = os.Chmod(built, 0o755)
		}
		if err != nil {
			panic(err)
		}
		defer os.RemoveAll(built)
		return m.Run()
	}())
}

// onlyOnce runs each command once, and two at the same time.
var onlyOnce struct {
	sync.Mutex
	commands map[string]*onceResult
}

type onceResult struct {
	sync.Once
	output []byte
	err    error
}

var slots = make(chan struct{}, 2)

// once runs a command if it was not run before. Output is its output, also if it fails.
func once(cmd *exec.Cmd) (output string, err error) {
	key := fmt.Sprintf("%q %q %q", cmd.Dir, cmd.Args, cmd.Env)
	onlyOnce.Lock()
	if onlyOnce.commands == nil {
		onlyOnce.commands = map[string]*onceResult{}
	}
	result := onlyOnce.commands[key]
	if result == nil {
		result = &onceResult{}
		onlyOnce.commands[key] = result
	}
	onlyOnce.Unlock()
	result.Do(func() {
		slots <- struct{}{}
		defer func() { <-slots }()
		result.output, result.err = cmd.CombinedOutput()
	})
	return string(result.output), result.err
}

// magellan builds magellan and returns its file.
func magellan(t testing.TB) string {
	t.Helper()
	file := filepath.Join(built, "magellan")
	cmd := exec.Command("go", "build", "-o", file, "./cmd/magellan")
	cmd.Dir = "../.."
	if out, err := once(cmd); err != nil {
		t.Fatalf("%v: %v\n%s", cmd.Args, err, out)
	}
	return file
}

// newest stands for the release of Go that runs the tests.
const newest = ""

// older are the last releases of the other minor versions that are supported.
var older = []string{"go1.20.14", "go1.21.13", "go1.22.12", "go1.23.12", "go1.24.13", "go1.25.7"}

// source is a program in testdata, and how to build it.
type source struct {
	dir       string // in testdata
	toolchain string // a release of Go, or newest
	env       []string
	flags     []string // of go build
}

// build builds a program and returns its file.
func (s source) build(t testing.TB) string {
	t.Helper()
	if s.toolchain != newest {
		find := exec.Command("go", "version") // it asks the module proxy for a release that is not here
		find.Env = s.environment()
		if out, err := once(find); err != nil || !strings.Contains(out, s.toolchain+" ") {
			missing(t, fmt.Sprintf("%s cannot be had from the module proxy: %v\n%s", s.toolchain, err, out))
		}
	}
	name := strings.Join(append([]string{s.dir, s.toolchain}, append(s.env, s.flags...)...), " ")
	file := filepath.Join(built, strings.NewReplacer("/", "_", " ", "_", "-", "", "=", "").Replace(name))
	cmd := exec.Command("go", append(append([]string{"build", "-o", file}, s.flags...), ".")...)
	cmd.Dir = filepath.Join("testdata", s.dir)
	cmd.Env = s.environment()
	if out, err := once(cmd); err != nil {
		t.Fatalf("%v with %s: %v\n%s", cmd.Args, s.toolchain, err, out)
	}
	return file
}

// environment is that of somebody who does not know magellan: without the flags of its own
// C libraries.
func (s source) environment() []string {
	env := []string{"GOWORK=off"}
	for _, v := range os.Environ() {
		switch name, _, _ := strings.Cut(v, "="); name {
		case "CGO_CFLAGS", "CGO_LDFLAGS", "GOWORK":
		default:
			env = append(env, v)
		}
	}
	if s.toolchain != newest {
		env = append(env, "GOTOOLCHAIN="+s.toolchain)
	}
	return append(env, s.env...)
}

// buildLibrary compiles testdata/library.c, with the given name of the function that
// allocates, and other code before it.
func buildLibrary(t testing.TB, name string, other int) string {
	t.Helper()
	file := filepath.Join(built, "lib"+name+".so")
	cmd := exec.Command("gcc", "-O2", "-fPIC", "-shared", "-DNAME="+name, fmt.Sprintf("-DOTHER=%d", other), "-o", file, "testdata/library.c")
	if out, err := once(cmd); err != nil {
		t.Fatalf("%v: %v\n%s", cmd.Args, err, out)
	}
	return file
}

// missing skips the test, or fails it with CI=true.
func missing(t testing.TB, what string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal(what)
	}
	t.Skip(what)
}

// needRoot skips the test if it does not run as root.
func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root may do this")
	}
}

// need finds a program of the system.
func need(t testing.TB, name string) string {
	t.Helper()
	file, err := exec.LookPath(name)
	if err != nil {
		missing(t, name+" is not installed: install util-linux")
	}
	return file
}

// outcome is what a command wrote and how it ended.
type outcome struct{ stdout, stderr, ended string }

// outcomeOf runs a command to its end.
func outcomeOf(t testing.TB, cmd *exec.Cmd) outcome {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	late := time.AfterFunc(patience, func() { cmd.Process.Kill() })
	cmd.WaitDelay = 10 * time.Second
	_ = cmd.Wait() // how it ended is in ProcessState
	if !late.Stop() {
		t.Errorf("%v has not ended within %v, and was killed", cmd.Args, patience)
	}
	return outcome{stdout.String(), stderr.String(), cmd.ProcessState.String()}
}

// eventually waits until check returns nil.
func eventually(t testing.TB, what string, check func() error) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: still after %v: %v", what, patience, err)
		}
	}
}
