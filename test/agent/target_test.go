package agent

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/pprof/profile"

	"magellan/internal/childproc"
)

// target is a program that runs, usually under an agent.
type target struct {
	testing.TB
	*childproc.Process
	in   *os.File // its standard input
	out  *bufio.Reader
	pipe *os.File // what out reads from
	// pid is the program's process, which is another than that of Process if a shell has
	// started it.
	pid int
	// talks says that the program may write to its standard error.
	talks bool
	// ended says that the test has ended the program.
	ended bool
}

// heapRun is `magellan heap run OPTIONS -- COMMAND`.
func heapRun(t testing.TB, options []string, command ...string) *exec.Cmd {
	t.Helper()
	args := append([]string{"heap", "run"}, options...)
	return exec.Command(magellan(t), append(append(args, "--"), command...)...)
}

// everyBlock makes the agent sample each block.
var everyBlock = []string{"--sample", "1"}

// start starts a command. At the end of the test its standard input is closed, and then it
// must end with status 0 and without a word on its standard error.
func start(t testing.TB, cmd *exec.Cmd) *target {
	t.Helper()
	inner, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	out, outer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdin, cmd.Stdout = inner, outer
	p := &target{TB: t, in: in, out: bufio.NewReaderSize(out, 1<<20), pipe: out}
	p.Process, err = childproc.Start(cmd)
	inner.Close()
	outer.Close()
	if err != nil {
		t.Fatal(err)
	}
	p.pid = p.Pid()
	t.Cleanup(func() {
		p.finish()
		out.Close()
	})
	return p
}

// finish ends the program, as its user would.
func (p *target) finish() {
	p.Helper()
	p.in.Close()
	if p.ended {
		return
	}
	p.ended = true
	select {
	case <-p.Done():
	case <-time.After(patience):
		p.Errorf("%d has not ended %v after its standard input was closed", p.Pid(), patience)
	}
	if err := p.Stop(syscall.SIGKILL, patience); err != nil {
		p.Error(err)
	}
	if !p.Ended().Success() {
		p.Errorf("it ended with %v: %s", p.Ended(), p.LastOutput())
	} else if text := p.LastOutput(); text != "" && !p.talks {
		p.Errorf("its standard error: %s", text)
	}
}

// kill ends the program with SIGKILL.
func (p *target) kill() {
	p.Helper()
	p.ended = true
	if err := p.Stop(syscall.SIGKILL, patience); err != nil {
		p.Error(err)
	}
}

// line is the next line of the program's output.
func (p *target) line() string {
	p.Helper()
	p.pipe.SetReadDeadline(time.Now().Add(patience))
	line, err := p.out.ReadString('\n')
	if err != nil {
		p.Fatalf("it does not write the next line: %v (%v): %s", err, p.Ended(), p.LastOutput())
	}
	return strings.TrimSuffix(line, "\n")
}

// startHost starts the program host. command gets its file and returns how to start it.
func startHost(t testing.TB, command func(host string) *exec.Cmd) *target {
	t.Helper()
	p := start(t, command(source{dir: "host"}.build(t)))
	p.pid = p.askPID()
	return p
}

// askPID asks the host for its process.
func (p *target) askPID() int {
	p.Helper()
	pid, err := strconv.Atoi(p.do("pid"))
	if err != nil {
		p.Fatal(err)
	}
	return pid
}

// hostUnder starts the program host under an agent with these options.
func hostUnder(t testing.TB, options ...string) *target {
	t.Helper()
	return startHost(t, func(host string) *exec.Cmd { return heapRun(t, options, host) })
}

// try sends a command to a host and returns its answer.
func (p *target) try(format string, args ...any) (string, error) {
	p.Helper()
	if _, err := fmt.Fprintf(p.in, format+"\n", args...); err != nil {
		p.Fatal(err)
	}
	verdict, text, _ := strings.Cut(p.line(), " ")
	if text != "" {
		var err error
		if text, err = strconv.Unquote(text); err != nil {
			p.Fatalf("answer %q: %v", text, err)
		}
	}
	if verdict != "ok" {
		return "", fmt.Errorf("%s: %s %s", fmt.Sprintf(format, args...), verdict, text)
	}
	return text, nil
}

// do sends a command to a host, which must carry it out.
func (p *target) do(format string, args ...any) string {
	p.Helper()
	answer, err := p.try(format, args...)
	if err != nil {
		p.Fatal(err)
	}
	return answer
}

// dumpCommand is `magellan heap dump --pid`, and file is where it writes the profile.
func dumpCommand(t testing.TB, pid int, options ...string) (cmd *exec.Cmd, file string) {
	t.Helper()
	dir, err := os.MkdirTemp(built, "dump-")
	if err == nil {
		err = os.Chmod(dir, 0o777) // others write there too
	}
	if err != nil {
		t.Fatal(err)
	}
	file = filepath.Join(dir, "profile")
	args := []string{"heap", "dump", "--pid", strconv.Itoa(pid), "--output", file, "--format", "pprof"}
	return exec.Command(magellan(t), append(args, options...)...), file
}

// dump takes a profile.
func (p *target) dump() *profile.Profile {
	p.Helper()
	cmd, file := dumpCommand(p, p.pid)
	if o := outcomeOf(p, cmd); o.ended != "exit status 0" {
		p.Fatalf("magellan heap dump: %s\n%s%s", o.ended, o.stdout, o.stderr)
	}
	return readProfile(p, file)
}

func readProfile(t testing.TB, file string) *profile.Profile {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	got, err := profile.ParseData(data)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// refusedDump takes a profile, which must not succeed. It returns what magellan says.
func refusedDump(t testing.TB, cmd *exec.Cmd) string {
	t.Helper()
	o := outcomeOf(t, cmd)
	if o.ended == "exit status 0" || !strings.HasPrefix(o.ended, "exit status") {
		t.Errorf("%v: %s, want a failure: %s%s", cmd.Args, o.ended, o.stdout, o.stderr)
	}
	return o.stderr
}

// socket is the name of the agent's socket.
func (p *target) socket() string {
	p.Helper()
	name, err := socketOf(p.pid)
	if err != nil {
		p.Fatal(err)
	}
	return name
}

// connect connects to the agent. The connection is closed at the end of the test.
func (p *target) connect() net.Conn {
	p.Helper()
	conn, err := net.Dial("unix", p.socket())
	if err != nil {
		p.Fatal(err)
	}
	p.Cleanup(func() { conn.Close() })
	return conn
}

// status is what the agent says of itself.
func (p *target) status() map[string]string {
	p.Helper()
	body, err := ask(p.socket(), "status")
	if err != nil {
		p.Fatal(err)
	}
	all := map[string]string{}
	for line := range strings.Lines(body) {
		key, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		all[key] = value
	}
	return all
}

// number is a number of the status.
func (p *target) number(key string) int64 {
	p.Helper()
	status := p.status()
	n, err := strconv.ParseInt(status[key], 10, 64)
	if err != nil {
		p.Fatalf("%s: %v in %v", key, err, status)
	}
	return n
}

// socketOf finds the agent's socket in a process. It is not the way that magellan goes.
func socketOf(pid int) (name string, err error) {
	own := map[string]bool{}
	fds, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	if err != nil || len(fds) == 0 {
		return "", fmt.Errorf("process %d has no descriptors (%v)", pid, err)
	}
	for _, fd := range fds {
		if link, err := os.Readlink(fd); err == nil {
			if inode, ok := strings.CutPrefix(link, "socket:["); ok {
				own[strings.TrimSuffix(inode, "]")] = true
			}
		}
	}
	sockets, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/unix", pid))
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(sockets)) {
		f := strings.Fields(line)
		if len(f) == 8 && own[f[6]] && strings.HasPrefix(f[7], "@magellan-agent/") && f[3] == "00010000" { // listens
			if name != "" {
				return "", fmt.Errorf("process %d has two agents", pid)
			}
			name = f[7]
		}
	}
	if name == "" {
		return "", fmt.Errorf("process %d has no agent", pid)
	}
	return name, nil
}

// ask sends a request to an agent and returns the body of the answer.
func ask(socket, request string) (string, error) {
	conn, err := net.Dial("unix", socket)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(conn, request+"\n"); err != nil {
		return "", err
	}
	return readAnswer(conn)
}

func readAnswer(conn io.Reader) (string, error) {
	var body bytes.Buffer
	in := bufio.NewReader(conn)
	for first := true; ; first = false {
		var size uint32
		if err := binary.Read(in, binary.LittleEndian, &size); err != nil {
			return body.String(), fmt.Errorf("the answer is cut after %d bytes: %w", body.Len(), err)
		}
		if size == 0 {
			return body.String(), nil
		}
		frame := make([]byte, size)
		if _, err := io.ReadFull(in, frame); err != nil {
			return body.String(), fmt.Errorf("a frame is cut: %w", err)
		}
		switch text := strings.TrimSuffix(string(frame), "\n"); {
		case !first:
			body.Write(frame)
		case text != "ok":
			return "", fmt.Errorf("the agent answers %q", text)
		}
	}
}

// askArgument makes this test program ask an agent, as another user: ask SOCKET REQUEST.
const askArgument = "ask"

func askMain(socket, request string) int {
	body, err := ask(socket, request)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Print(body)
	return 0
}

// as runs a command as another user.
func as(t testing.TB, uid int, cmd *exec.Cmd) *exec.Cmd {
	t.Helper()
	needRoot(t)
	id := strconv.Itoa(uid)
	args := append([]string{"--reuid", id, "--regid", id, "--clear-groups", "--", cmd.Path}, cmd.Args[1:]...)
	other := exec.Command(need(t, "setpriv"), args...)
	other.Env, other.Dir = cmd.Env, "/"
	return other
}

// Two users without rights.
const nobody, stranger = 65534, 65533
