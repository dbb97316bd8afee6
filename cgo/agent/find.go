package agent

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

var (
	// ErrNoProcess means that there is no such process, or that it has ended.
	ErrNoProcess = errors.New("no such process")
	// ErrNoAgent means that the process runs without an agent.
	ErrNoAgent = errors.New("the process has no agent")
)

// said is an error with a text of its own that matches an error such as ErrNoAgent.
type said struct {
	kind error
	text string
}

func (e *said) Error() string { return e.text }
func (e *said) Unwrap() error { return e.kind }

func noAgent(pid int) error {
	return &said{ErrNoAgent, fmt.Sprintf("process %d has no agent: start the program with magellan heap run", pid)}
}

// Find returns the agent of a process. The error matches ErrNoProcess, fs.ErrPermission if
// this process may not look at that process, or ErrNoAgent.
func Find(pid int) (*Client, error) {
	p, err := readProcess(pid)
	if err != nil {
		return nil, err
	}
	if p.thread {
		return nil, &said{ErrNoProcess, fmt.Sprintf("%d is a thread of process %d", pid, p.tgid)}
	}
	if p.zombie {
		return nil, &said{ErrNoProcess, fmt.Sprintf("process %d has ended", pid)}
	}
	sockets, err := agentSockets(pid)
	if err != nil {
		return nil, p.explain(err)
	}
	return p.agent(sockets)
}

// Process is a process that List has found.
type Process struct {
	PID     int
	Program *Program // nil if the program's file cannot be read
	Agent   *Client  // nil if there is no agent in the process
}

// List returns the processes that have an agent, and all others that run Go code, by their
// numbers. hidden is how many processes this process may not look at.
func List() (all []Process, hidden int, err error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, 0, err
	}
	programs := make(map[fileID]*Program)
	networks := make(map[string][]socket)
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		p, err := readProcess(pid)
		if err != nil || p.zombie || p.kernel {
			continue // it has ended
		}
		found := Process{PID: pid}
		found.Program, err = p.program(programs)
		if errors.Is(err, fs.ErrPermission) {
			hidden++
			continue
		}
		if network, err := os.Readlink(p.path("ns/net")); err == nil {
			sockets, known := networks[network]
			if !known {
				sockets, _ = agentSockets(pid) // none if it has ended
				networks[network] = sockets
			}
			found.Agent, _ = p.agent(sockets)
		}
		if found.Agent != nil || found.Program != nil && found.Program.Go {
			all = append(all, found)
		}
	}
	slices.SortFunc(all, func(a, b Process) int { return a.PID - b.PID })
	return all, hidden, nil
}

// process is what /proc/PID/status says.
type process struct {
	pid    int
	tgid   int  // differs from pid if pid is a thread
	inner  int  // the number that the process itself sees
	uid    int  // real
	thread bool // pid is a thread and not its process
	zombie bool
	kernel bool // a thread of the kernel
}

func (p *process) path(name string) string { return procPath(p.pid, name) }

func procPath(pid int, name string) string {
	return filepath.Join("/proc", strconv.Itoa(pid), name)
}

// exists reports whether a process runs.
func exists(pid int) bool {
	p, err := readProcess(pid)
	return err == nil && !p.zombie
}

func readProcess(pid int) (*process, error) {
	missing := &said{ErrNoProcess, fmt.Sprintf("there is no process %d", pid)}
	if pid <= 0 {
		return nil, missing
	}
	status, err := os.ReadFile(procPath(pid, "status"))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
		return nil, missing
	}
	if err != nil {
		return nil, err
	}
	p := &process{pid: pid, inner: pid, tgid: pid}
	for line := range strings.Lines(string(status)) {
		key, rest, _ := strings.Cut(line, ":")
		values := strings.Fields(rest)
		if len(values) == 0 {
			continue
		}
		switch key {
		case "State":
			p.zombie = values[0] == "Z" || values[0] == "X"
		case "Tgid":
			p.tgid, _ = strconv.Atoi(values[0])
		case "NSpid": // of each namespace that contains the process, the innermost last
			p.inner, _ = strconv.Atoi(values[len(values)-1])
		case "Uid":
			p.uid, _ = strconv.Atoi(values[0])
		case "Kthread":
			p.kernel = values[0] == "1"
		}
	}
	p.thread = p.tgid != pid
	return p, nil
}

// explain says what an error of a file in /proc/PID means.
func (p *process) explain(err error) error {
	switch {
	case errors.Is(err, fs.ErrPermission):
		owner := fmt.Sprintf("user %d", p.uid)
		if u, err := user.LookupId(strconv.Itoa(p.uid)); err == nil {
			owner = u.Username
		}
		return &said{fs.ErrPermission, fmt.Sprintf("process %d may not be looked at: %s", p.pid, whoMay(p.uid, os.Geteuid(), owner))}
	case !exists(p.pid):
		return &said{ErrNoProcess, fmt.Sprintf("process %d has ended", p.pid)}
	}
	return fmt.Errorf("process %d: %w", p.pid, err)
}

// whoMay says who may look at a process of the user uid, if this process, of the user own,
// may not.
func whoMay(uid, own int, owner string) string {
	switch {
	case uid == own:
		return fmt.Sprintf("it belongs to this user (%s), but has more rights, such as capabilities, or is in another user namespace: run this as root of the host", owner)
	case own == 0:
		return fmt.Sprintf("root needs the capability CAP_SYS_PTRACE for it, which containers do not have: run this as its user (%s), or as root of the host", owner)
	}
	return fmt.Sprintf("only its user (%s) and root may: run this as one of them", owner)
}

// program inspects the program of a process, or takes it from those that were inspected.
func (p *process) program(known map[fileID]*Program) (*Program, error) {
	id, err := idOf(p.path("exe"))
	if err != nil {
		return nil, err
	}
	program, ok := known[id]
	if !ok {
		if program, err = inspect(p.path("exe")); err != nil {
			program = nil
		}
		known[id] = program
	}
	if program == nil {
		return nil, nil
	}
	own := *program
	own.Path = p.exe()
	return &own, nil
}

// exe returns the path of the program as the process sees it.
func (p *process) exe() string {
	path, _ := os.Readlink(p.path("exe"))
	return printable(strings.TrimSuffix(path, " (deleted)"))
}

// fileID identifies a file, whatever its path.
type fileID struct{ dev, ino uint64 }

func idOf(path string) (fileID, error) {
	info, err := os.Stat(path)
	if err != nil {
		return fileID{}, err
	}
	stat := info.Sys().(*syscall.Stat_t)
	return fileID{uint64(stat.Dev), stat.Ino}, nil
}

// socket is a listening socket with a name that agents choose.
type socket struct {
	name  string // without the NUL
	pid   int    // in the name
	inode string
}

// agentSockets returns the sockets in the network namespace of a process that have the name
// of an agent's: magellan-agent/PID/RANDOM.
func agentSockets(pid int) ([]socket, error) {
	text, err := os.ReadFile(procPath(pid, "net/unix"))
	if err != nil {
		return nil, err
	}
	return parseSockets(text), nil
}

// parseSockets parses lines "Num RefCount Protocol Flags Type St Inode Path". Abstract names
// begin with @.
func parseSockets(text []byte) []socket {
	const listening = 0x10000 // __SO_ACCEPTCON; connections have the same name without it
	var all []socket
	lines := bufio.NewScanner(bytes.NewReader(text))
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		if len(f) != 8 {
			continue
		}
		flags, err := strconv.ParseUint(f[3], 16, 32)
		name, ok := strings.CutPrefix(f[7], "@magellan-agent/")
		number, _, random := strings.Cut(name, "/")
		pid, numberErr := strconv.Atoi(number)
		if err != nil || flags&listening == 0 || !ok || !random || numberErr != nil {
			continue
		}
		all = append(all, socket{name: f[7][1:], pid: pid, inode: f[6]})
	}
	return all
}

// agent returns the agent whose socket is one of sockets and among the descriptors of the
// process. A forked child has the socket of its parent, whose number is in the name.
func (p *process) agent(sockets []socket) (*Client, error) {
	named := slices.DeleteFunc(slices.Clone(sockets), func(s socket) bool { return s.pid != p.inner })
	if len(named) == 0 {
		return nil, noAgent(p.pid)
	}
	entries, err := os.ReadDir(p.path("fd"))
	if err != nil {
		return nil, p.explain(err)
	}
	for _, e := range entries {
		link, err := os.Readlink(p.path("fd/" + e.Name()))
		if errors.Is(err, fs.ErrPermission) { // of a process of the same user
			return nil, p.explain(err)
		}
		if err != nil {
			continue // it was closed
		}
		for _, s := range named {
			if link == "socket:["+s.inode+"]" {
				return p.client(s)
			}
		}
	}
	return nil, noAgent(p.pid)
}

func (p *process) client(s socket) (*Client, error) {
	c := &Client{pid: p.pid, socket: s.name}
	theirs, err := os.Readlink(p.path("ns/net"))
	if err != nil {
		return nil, p.explain(err)
	}
	if ours, err := os.Readlink("/proc/self/ns/net"); err != nil || ours != theirs {
		c.network = p.path("ns/net")
	}
	return c, nil
}
