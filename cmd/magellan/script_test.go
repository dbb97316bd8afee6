package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"magellan/internal/shops"
	"magellan/internal/zk"
	"magellan/internal/zk/zktest"
)

// patience bounds whatever a script waits for.
const patience = 2 * time.Minute

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"magellan": main, "fetch": fetch})
}

// TestScript runs the program where it needs no ZooKeeper.
func TestScript(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script", Cmds: commands, UpdateScripts: *update, RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("COLUMNS", "100")
			return nil
		},
	})
}

// TestScriptZooKeeper runs it against real servers: one that is shared, where
// each script has a root of its own ($ROOT), or one of the script's own.
func TestScriptZooKeeper(t *testing.T) {
	shared := zktest.Start(t)
	testscript.Run(t, testscript.Params{
		Dir: "testdata/zookeeper", Cmds: commands, UpdateScripts: *update, RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			samples, err := filepath.Abs(sampleDir)
			if err != nil {
				return err
			}
			top, err := filepath.Abs("../..")
			if err != nil {
				return err
			}
			env.Values[started{}] = &started{}
			name := strings.TrimPrefix(filepath.Base(env.WorkDir), "script-")
			env.Setenv("SAMPLE", samples)
			env.Setenv("README", filepath.Join(top, "README.md"))
			env.Setenv("README_PICTURE", filepath.Join(top, "docs", "requests.svg"))
			env.Setenv("MAGELLAN_SERVERS", shared.Addr())
			env.Setenv("MAGELLAN_ROOT", "/test/"+name)
			env.Setenv("ROOT", "/test/"+name)
			env.Setenv("MAGELLAN_LISTEN", "127.0.0.1:0")
			env.Setenv("MAGELLAN_ADMIN_LISTEN", "127.0.0.1:0")
			env.Setenv("MAGELLAN_READY_FILE", filepath.Join(env.WorkDir, "ready.json"))
			for _, command := range []string{"GET", "HEALTH", "HEAP"} {
				env.Setenv("MAGELLAN_"+command+"_TIMEOUT", patience.String())
			}
			return nil
		},
	})
}

// commands are what the scripts can do beside running programs.
var commands = map[string]func(ts *testscript.TestScript, neg bool, args []string){
	"exits": cmdExits, "ready": cmdReady, "http": cmdHTTP, "until": cmdUntil, "refused": cmdRefused,
	"signal": cmdSignal, "zookeeper": cmdZooKeeper, "znode": cmdZnode, "shoppath": cmdShopPath,
	"exists-soon": cmdExistsSoon, "httpunix": cmdHTTPUnix, "deadsocket": cmdDeadSocket,
	"occupied": cmdOccupied, "children": cmdChildren, "interrupt": cmdInterrupt, "aclreadonly": cmdReadOnly, "generate": cmdGenerate, "errorline": cmdErrorLine,
	"follow": cmdFollow, "unfollow": cmdUnfollow, "printed": cmdPrinted,
}

func usage(ts *testscript.TestScript, ok bool, text string) {
	if !ok {
		ts.Fatalf("usage: %s", text)
	}
}

// exits CODE PROGRAM ARGS… runs a program and checks its exit code.
func cmdExits(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) >= 2, "exits CODE PROGRAM ARGS…")
	code := 0
	err := ts.Exec(args[1], args[2:]...)
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		code = exit.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if strconv.Itoa(code) != args[0] {
		ts.Fatalf("%s: exit code %d, want %s", args[1], code, args[0])
	}
}

// errorline REGEXP checks that stderr has exactly one line that is not of the log, and
// that this line is "magellan: " followed by a match.
func cmdErrorLine(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) == 1, "errorline REGEXP")
	var lines []string
	for line := range strings.Lines(ts.ReadFile("stderr")) {
		if !strings.HasPrefix(line, "time=") {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	if len(lines) != 1 || !regexp.MustCompile("^magellan: .*"+args[0]).MatchString(lines[0]) {
		ts.Fatalf("want one line that matches %q, got:\n%s", args[0], strings.Join(lines, "\n"))
	}
}

// ready waits for the ready-file and sets API, ADMIN (URLs) and PID from it.
func cmdReady(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) == 0, "ready")
	var content []byte
	poll(ts, "no ready-file", func() (err error) {
		content, err = os.ReadFile(ts.Getenv("MAGELLAN_READY_FILE"))
		return err
	})
	var r struct {
		Listen, Admin string
		Pid           int
	}
	ts.Check(json.Unmarshal(content, &r))
	ts.Setenv("API", "http://"+r.Listen)
	ts.Setenv("MAGELLAN_URL", "http://"+r.Listen)
	ts.Setenv("ADMIN", "http://"+r.Admin)
	ts.Setenv("MAGELLAN_ADMIN_URL", "http://"+r.Admin)
	_, port, err := net.SplitHostPort(r.Admin)
	ts.Check(err)
	ts.Setenv("ADMINPORT", port)
	ts.Setenv("PID", strconv.Itoa(r.Pid))
}

// poll calls f until it returns nil.
func poll(ts *testscript.TestScript, what string, f func() error) {
	err := f()
	for deadline := time.Now().Add(patience); err != nil; err = f() {
		if time.Now().After(deadline) {
			ts.Fatalf("%s after %v: %v", what, patience, err)
		}
		<-time.After(10 * time.Millisecond) // between two looks
	}
}

// http METHOD URL [HEADER:VALUE | @FILE]… prints status, headers and body.
func cmdHTTP(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) >= 2, "http METHOD URL [HEADER:VALUE | @FILE]…")
	ts.Check(request(ts.Stdout(), args, ts.ReadFile))
}

func request(w io.Writer, args []string, read func(name string) string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, args[0], args[1], nil)
	if err != nil {
		return err
	}
	for _, arg := range args[2:] {
		if file, ok := strings.CutPrefix(arg, "@"); ok {
			body := read(file)
			req.Body, req.ContentLength = io.NopCloser(strings.NewReader(body)), int64(len(body))
			continue
		}
		name, value, _ := strings.Cut(arg, ":")
		req.Header.Set(name, strings.TrimSpace(value))
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	fmt.Fprintln(w, resp.Status)
	if err := resp.Header.Write(w); err != nil {
		return err
	}
	_, err = io.Copy(w, resp.Body)
	return err
}

// fetch is http as a program, to be run in the background.
func fetch() {
	if err := request(os.Stdout, os.Args[1:], func(string) string { return "" }); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// until URL REGEXP repeats a request until the answer matches.
func cmdUntil(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) == 2, "until URL REGEXP")
	want := regexp.MustCompile(args[1])
	poll(ts, args[0], func() error {
		var got strings.Builder
		if err := request(&got, []string{"GET", args[0]}, nil); err != nil {
			return err
		}
		if !want.MatchString(got.String()) {
			return fmt.Errorf("no match for %q in:\n%s", want, got.String())
		}
		return nil
	})
}

// refused URL waits until nobody listens there.
func cmdRefused(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) == 1, "refused URL")
	poll(ts, args[0], func() error {
		conn, err := net.Dial("tcp", strings.TrimPrefix(args[0], "http://"))
		if err != nil {
			return nil
		}
		return errors.Join(errors.New("still accepts"), conn.Close())
	})
}

// signal NAME PID sends a signal.
func cmdSignal(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) == 2, "signal TERM|INT PID")
	pid, err := strconv.Atoi(args[1])
	ts.Check(err)
	ts.Check(syscall.Kill(pid, map[string]syscall.Signal{"TERM": syscall.SIGTERM, "INT": syscall.SIGINT}[args[0]]))
}

// zookeeper start, and then kill, restart, pause, resume: a server of the
// script's own.
func cmdZooKeeper(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) == 1, "zookeeper start|kill|restart|pause|resume")
	own := ts.Value(started{}).(*started)
	if args[0] == "start" {
		var err error
		own.Server, err = zktest.New(zktest.Config{})
		ts.Check(err)
		ts.Defer(func() { own.Close() })
		ts.Setenv("MAGELLAN_SERVERS", own.Addr())
		return
	}
	ts.Check(map[string]func() error{
		"kill": own.Kill, "restart": own.Restart, "pause": own.Pause, "resume": own.Resume,
	}[args[0]]())
}

// started is what a script has started: its own ZooKeeper, and a follower.
type started struct {
	*zktest.Server
	follower *exec.Cmd
}

// znode get|version|acl|set|create|delete PATH [DATA] uses ZooKeeper directly,
// with the credential of $MAGELLAN_AUTH, if there is one.
func cmdZnode(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, len(args) >= 2, "[!] znode get|version|acl|set|create|delete PATH [DATA]")
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cfg := zk.Config{Servers: []string{ts.Getenv("MAGELLAN_SERVERS")}}
	if scheme, data, ok := strings.Cut(ts.Getenv("MAGELLAN_AUTH"), ":"); ok {
		cfg.Auth = []zk.Credential{{Scheme: scheme, Data: data}}
	}
	client, err := zk.Open(cfg)
	ts.Check(err)
	defer client.Close()
	ts.Check(client.WaitReady(ctx))
	switch args[0] {
	case "get":
		var data []byte
		if data, _, err = client.Get(ctx, args[1]); err == nil {
			fmt.Fprintf(ts.Stdout(), "%s\n", data)
		}
	case "version":
		var stat zk.Stat
		if stat, err = client.Exists(ctx, args[1]); err == nil {
			fmt.Fprintln(ts.Stdout(), stat.Version)
		}
	case "acl":
		var acl []zk.ACL
		if acl, _, err = client.GetACL(ctx, args[1]); err == nil {
			for _, a := range acl {
				fmt.Fprintf(ts.Stdout(), "%s:%s:%d\n", a.Scheme, a.ID, a.Perms)
			}
		}
	case "set":
		_, err = client.Set(ctx, args[1], []byte(args[2]), zk.AnyVersion)
	case "create":
		_, _, err = client.Create(ctx, args[1], []byte(args[2]), zk.CreateOptions{})
	case "delete":
		err = client.Delete(ctx, args[1], zk.AnyVersion)
	}
	if neg != (err != nil) {
		ts.Fatalf("znode %s: %v", strings.Join(args, " "), err)
	}
}

// children PATH N waits until a znode has that many children.
func cmdChildren(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) == 2, "children PATH N")
	want, err := strconv.Atoi(args[1])
	ts.Check(err)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	client, err := zk.Open(zk.Config{Servers: []string{ts.Getenv("MAGELLAN_SERVERS")}})
	ts.Check(err)
	defer client.Close()
	poll(ts, args[0], func() error {
		names, _, err := client.Children(ctx, args[0])
		if err == nil && len(names) < want {
			err = fmt.Errorf("%d children", len(names))
		}
		return err
	})
}

// aclreadonly PATH denies everybody to write there.
func cmdReadOnly(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) == 1, "aclreadonly PATH")
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	client, err := zk.Open(zk.Config{Servers: []string{ts.Getenv("MAGELLAN_SERVERS")}})
	ts.Check(err)
	defer client.Close()
	ts.Check(client.WaitReady(ctx))
	ts.Check(client.SetACL(ctx, args[0], []zk.ACL{{Perms: zk.PermRead, Scheme: "world", ID: "anyone"}}, zk.AnyVersion))
}

// interrupt does to the programs in the background what Ctrl-C does.
func cmdInterrupt(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) == 0, "interrupt")
	for _, cmd := range ts.BackgroundCmds() {
		ts.Check(cmd.Process.Signal(os.Interrupt))
	}
}

// shoppath NAME VARIABLE sets a variable to the path of a shop's znode.
func cmdShopPath(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) == 2, "shoppath NAME VARIABLE")
	layout := shops.Layout{Root: ts.Getenv("ROOT"), ShopBuckets: shops.DefaultShopBuckets}
	ts.Setenv(args[1], layout.Shop(args[0]))
}

// exists-soon FILE waits for a file and sets PID from it, if it is the ready-file.
func cmdExistsSoon(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) == 1, "exists-soon FILE")
	poll(ts, args[0], func() error {
		content, err := os.ReadFile(ts.MkAbs(args[0]))
		var r struct{ Pid int }
		if err == nil && json.Unmarshal(content, &r) == nil {
			ts.Setenv("PID", strconv.Itoa(r.Pid))
		}
		return err
	})
}

// httpunix SOCKET PATH REGEXP repeats a request over a socket in the file system, as a
// proxy for 198.51.100.7, until the answer matches.
func cmdHTTPUnix(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) == 3, "httpunix SOCKET PATH REGEXP")
	want := regexp.MustCompile(args[2])
	poll(ts, args[1], func() error {
		conn, err := net.Dial("unix", args[0])
		if err != nil {
			return err
		}
		defer conn.Close()
		fmt.Fprintf(conn, "GET %s HTTP/1.0\r\nX-Forwarded-For: 198.51.100.7\r\n\r\n", args[1])
		answer, err := io.ReadAll(conn)
		if err == nil && !want.Match(answer) {
			err = fmt.Errorf("no match for %q in %s", want, answer)
		}
		return err
	})
}

// deadsocket PATH creates a socket on which nobody listens, as a killed process leaves
// it.
func cmdDeadSocket(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) == 1, "deadsocket PATH")
	l, err := net.Listen("unix", args[0])
	ts.Check(err)
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	ts.Check(l.Close())
}

// occupied VARIABLE listens somewhere until the script ends.
func cmdOccupied(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) == 1, "occupied VARIABLE")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	ts.Defer(func() { l.Close() })
	ts.Setenv(args[0], l.Addr().String())
}

// generate FILE N [SHOP] writes N shops; or N times the same one, moving from one
// datacenter to the next.
func cmdGenerate(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && (len(args) == 2 || len(args) == 3), "generate FILE N [SHOP]")
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	var b strings.Builder
	b.WriteString("shop,datacenter\n")
	for i := range n {
		if len(args) == 3 {
			fmt.Fprintf(&b, "%s,dc-%d\n", args[2], i)
		} else {
			fmt.Fprintf(&b, "shop-%d,ash1\n", i)
		}
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(b.String()), 0o666))
}

// follow ARGS… begins `magellan get --follow ARGS…`, whose output printed looks at while it runs.
func cmdFollow(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) > 0, "follow ARGS…")
	output, err := os.OpenFile(ts.MkAbs("followed"), os.O_CREATE|os.O_TRUNC|os.O_WRONLY|os.O_APPEND, 0o600)
	ts.Check(err)
	defer output.Close()
	cmd := exec.Command("magellan", append([]string{"get", "--follow", "--server", ts.Getenv("MAGELLAN_URL")}, args...)...)
	cmd.Stdout, cmd.Stderr = output, output
	ts.Check(cmd.Start())
	own := ts.Value(started{}).(*started)
	own.follower = cmd
	ts.Defer(func() { cmd.Process.Kill() }) // in vain if it has ended
}

// unfollow interrupts what follow has begun.
func cmdUnfollow(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) == 0, "unfollow")
	cmd := ts.Value(started{}).(*started).follower
	ts.Check(cmd.Process.Signal(os.Interrupt))
	if err := cmd.Wait(); cmd.ProcessState.ExitCode() != exitInterrupted {
		ts.Fatalf("get --follow: %v", err)
	}
}

// printed REGEXP waits until what follow has begun prints a match, and forgets it.
func cmdPrinted(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) == 1, "printed REGEXP")
	want := regexp.MustCompile(args[0])
	poll(ts, "printed", func() error {
		text, err := os.ReadFile(ts.MkAbs("followed"))
		if err == nil && !want.Match(text) {
			err = fmt.Errorf("no match for %q in:\n%s", want, text)
		}
		return err
	})
	ts.Check(os.Truncate(ts.MkAbs("followed"), 0))
}
