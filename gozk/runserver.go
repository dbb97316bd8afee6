package zookeeper

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// ErrNotRunning is what [Server.Process] returns if the server does not run.
var ErrNotRunning = errors.New("process not running")

// distribution are the jars of Debian's packages libzookeeper-java and libslf4j-java.
// zookeeper.jar names those that it needs beside.
var distribution = []string{"/usr/share/java/zookeeper.jar", "/usr/share/java/slf4j-simple.jar"}

// Process returns the server's process. If it does not run, the error is ErrNotRunning.
func (srv *Server) Process() (*os.Process, error) {
	pid, err := srv.pid()
	if err != nil {
		return nil, err
	}
	if !srv.runsAs(pid) {
		return nil, ErrNotRunning
	}
	return os.FindProcess(pid)
}

// pid returns the id in pid.txt. The error is ErrNotRunning if there is no such file.
func (srv *Server) pid() (int, error) {
	text, err := os.ReadFile(srv.path(pidFile))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, ErrNotRunning
	}
	if err != nil {
		return 0, err
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || pid <= 0 {
		return 0, fmt.Errorf("%s holds no process id: %q", srv.path(pidFile), text)
	}
	return pid, nil
}

// runsAs returns whether a process is the server's. The kernel gives the id of a process
// that has ended to another one, so the command line is compared; a process that ends
// has none.
func (srv *Server) runsAs(pid int) bool {
	return bytes.Contains(commandLine(pid), []byte("\x00"+srv.path(configFile)+"\x00"))
}

// commandLine returns a process's arguments, a NUL behind each; nil if it has none.
func commandLine(pid int) []byte {
	command, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)) // nil for a process that is gone
	return command
}

// Start starts the server, and does not wait until it takes sessions: Dial does. It is an
// error if the server runs, or if it has ended by itself since Start; Stop mends the
// latter. What the server writes is in log.txt in its directory.
func (srv *Server) Start() error {
	classPath, err := srv.classPath()
	if err != nil {
		return err
	}
	if err := srv.portIsFree(); err != nil {
		return err
	}
	pid, err := os.OpenFile(srv.path(pidFile), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if errors.Is(err, fs.ErrExist) {
		if _, err := srv.Process(); errors.Is(err, ErrNotRunning) {
			return fmt.Errorf("the server has ended without Stop, and left %s: call Stop first", srv.path(pidFile))
		}
		return errors.New("server is already running")
	}
	if err != nil {
		return err
	}
	defer pid.Close()
	if err := srv.run(classPath, pid); err != nil {
		_ = os.Remove(srv.path(pidFile)) // Start has failed as a whole
		return err
	}
	return nil
}

// portIsFree returns an error if somebody listens on the server's port. The server would
// find that out only after Start has returned, and who dials would reach the other one.
func (srv *Server) portIsFree() error {
	if _, err := srv.Process(); err == nil {
		return nil // Start says that it is the server itself
	}
	addr, err := srv.Addr()
	if err != nil {
		return err
	}
	_, port, _ := net.SplitHostPort(addr) // Addr has joined it
	l, err := net.Listen("tcp", ":"+port)
	if err != nil {
		return fmt.Errorf("cannot listen on port %s: %w", port, err)
	}
	return l.Close()
}

// run starts the process, and writes its id to a file.
func (srv *Server) run(classPath string, pid *os.File) error {
	log, err := os.OpenFile(srv.path(logFile), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o666)
	if err != nil {
		return err
	}
	defer log.Close()
	server := exec.Command(java(), "-cp", classPath,
		"-Dlog4j.configuration=file:"+srv.path(logConfig),
		"-Dzookeeper.admin.enableServer=false", // it would want port 8080
		"org.apache.zookeeper.server.quorum.QuorumPeerMain", srv.path(configFile))
	server.Stdout, server.Stderr = log, log
	if err := server.Start(); err != nil {
		return fmt.Errorf("cannot start the server (is Java installed?): %w", err)
	}
	// Who waits for a process takes notice of its end.
	go server.Wait() //nolint:errcheck // how it ended is in its log
	// The process has its command line once exec has happened, and Start has waited for
	// that: runsAs finds it from here on.
	if _, err := fmt.Fprintf(pid, "%d", server.Process.Pid); err != nil {
		_ = server.Process.Kill()
		return err
	}
	return nil
}

// java returns the command, that of JAVA_HOME if it is set.
func java() string {
	if home := os.Getenv("JAVA_HOME"); home != "" {
		return filepath.Join(home, "bin", "java")
	}
	return "java"
}

// classPath returns the jars of ZooKeeper.
func (srv *Server) classPath() (string, error) {
	jars := distribution
	if srv.zkDir != "" {
		jars = nil
		// Releases have their jars in lib, the old ones zookeeper.jar beside it.
		for _, pattern := range []string{"zookeeper*.jar", "lib/*.jar", "build/zookeeper*.jar", "build/lib/*.jar"} {
			found, err := filepath.Glob(filepath.Join(srv.zkDir, pattern))
			if err != nil {
				return "", err
			}
			jars = append(jars, found...)
		}
		if !slices.ContainsFunc(jars, func(jar string) bool { return strings.HasPrefix(filepath.Base(jar), "zookeeper") }) {
			return "", fmt.Errorf("there is no zookeeper*.jar in %s and its lib", srv.zkDir)
		}
		return strings.Join(jars, ":"), nil
	}
	if _, err := os.Stat(jars[0]); err != nil {
		return "", fmt.Errorf("ZooKeeper is not installed (apt-get install libzookeeper-java libslf4j-java default-jre-headless), and CreateServer was given no directory: %w", err)
	}
	return strings.Join(jars, ":"), nil
}

// Stop kills the server and waits until it has ended. If it does not run, Stop only
// makes Start possible again. Data and log stay.
func (srv *Server) Stop() error {
	pid, err := srv.pid()
	switch {
	case errors.Is(err, ErrNotRunning):
		return nil
	case err != nil:
		return err
	case srv.runsAs(pid):
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			return err
		}
	}
	srv.waitEnded(pid)
	if err := os.Remove(srv.path(pidFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// waitEnded waits until a process that was killed, by Stop or before, holds nothing any
// more, such as its port. It may be another's child, and stay as a zombie until that takes
// notice. A process that has no command line is one that ends, or a thread of the kernel,
// to which the id was given again: therefore it is waited for no longer than endsWithin.
func (srv *Server) waitEnded(pid int) {
	for begin := time.Now(); !ended(pid); time.Sleep(time.Millisecond) {
		if !srv.runsAs(pid) && (len(commandLine(pid)) > 0 || time.Since(begin) > endsWithin) {
			return
		}
	}
}

// endsWithin is how long a process that was killed may take to give back its memory.
const endsWithin = 10 * time.Second

// ended returns whether a process is gone, or is a zombie without other threads: a thread
// closes the files that it is the last one to have, before it becomes a zombie.
func ended(pid int) bool {
	threads, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil || len(threads) != 1 {
		return err != nil
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	// The state follows the name, which is in parentheses and may hold some.
	_, state, _ := bytes.Cut(stat[bytes.LastIndexByte(stat, ')')+1:], []byte(" "))
	return err != nil || bytes.HasPrefix(state, []byte("Z"))
}
