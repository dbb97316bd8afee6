package zktest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"magellan/internal/childproc"
)

// The ports of every server, each on an address of its own. They lie below the
// range the kernel gives to outgoing connections.
const (
	guardPort    = 21820
	clientPort   = 21821
	quorumPort   = 21822
	electionPort = 21823
	securePort   = 21824
)

// startTimeout is generous: a JVM on a busy machine takes its time.
const startTimeout = 60 * time.Second

// Config of a server. The zero value is right for tests.
type Config struct {
	// Dir holds data, configuration and log. Empty: a temporary directory,
	// removed by Close.
	Dir string
	// Addr is the host:port to serve, for programs that want a known one.
	// Empty: a fixed port on a loopback address of the server's own.
	Addr string
	// Java are further flags of the JVM; later ones win over the defaults,
	// which are for a quick start and a small heap (-Xmx256m, no C2).
	Java []string
	// Lines are further lines of zoo.cfg; they win over the defaults.
	Lines []string
	// MaxBuffer is the server's jute.maxbuffer in bytes; 0 leaves the default.
	MaxBuffer int
	// TLS, unless nil, has the server also serve TLS, see Server.SecureAddr.
	TLS *ServerTLS
}

// ServerTLS names PEM files. Clients must show a certificate of CA.
type ServerTLS struct {
	CA          string
	CertWithKey string // the certificate and its unencrypted PKCS #8 key, in one file
}

// Server is one ZooKeeper server, a JVM.
type Server struct {
	cfg     Config
	dir     string
	ownDir  bool
	host    string
	addr    string
	secure  string
	guard   net.Listener
	cluster []string // the server.N lines of an ensemble
	id      int

	classes string // the JVM's flag for its archive of classes, if there is one

	mu   sync.Mutex
	proc *childproc.Process // one run of the JVM
}

// tlsJars are what Netty needs beyond the jars that zookeeper.jar itself names.
const tlsJars = "/usr/share/java/netty-codec.jar"

// ErrNotInstalled: Java or ZooKeeper is missing on this machine.
var ErrNotInstalled = errors.New("zktest: java and ZooKeeper's jars are needed: apt-get install default-jre-headless libzookeeper-java libslf4j-java, or make deps")

// Installed returns ErrNotInstalled, with what is missing, or nil.
func Installed() error {
	if _, err := exec.LookPath("java"); err != nil {
		return fmt.Errorf("%w (no java in PATH)", ErrNotInstalled)
	}
	_, err := classPath()
	return err
}

// classPath returns the jars: those of ZOOKEEPER_CLASSPATH, or the
// distribution's.
func classPath() (string, error) {
	if cp := os.Getenv("ZOOKEEPER_CLASSPATH"); cp != "" {
		return cp, nil
	}
	const dir = "/usr/share/java"
	jars := []string{dir + "/zookeeper.jar", dir + "/slf4j-simple.jar"}
	for _, j := range jars {
		if _, err := os.Stat(j); err != nil {
			return "", fmt.Errorf("%w (no %s)", ErrNotInstalled, j)
		}
	}
	return strings.Join(jars, ":"), nil
}

// New starts a server and waits until it takes sessions.
func New(cfg Config) (*Server, error) {
	s, err := reserve(cfg)
	if err != nil {
		return nil, err
	}
	s.classes = fromArchive()
	if err := s.startAndWait(); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// reserve finds a directory and an address.
func reserve(cfg Config) (*Server, error) {
	if err := Installed(); err != nil {
		return nil, err
	}
	s := &Server{cfg: cfg, dir: cfg.Dir}
	if s.dir == "" {
		dir, err := os.MkdirTemp("", "zktest-")
		if err != nil {
			return nil, fmt.Errorf("zktest: %w", err)
		}
		s.dir, s.ownDir = dir, true
	}
	if err := s.reserveAddr(); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// reserveAddr takes a loopback address for this server alone. Whoever listens
// on its guard port owns it; that socket stays open as long as the server, so
// two test binaries never meet, and no port is closed to be used again.
func (s *Server) reserveAddr() error {
	if s.cfg.Addr != "" {
		host, _, err := net.SplitHostPort(s.cfg.Addr)
		if err != nil {
			return fmt.Errorf("zktest: Addr: %w", err)
		}
		s.host, s.addr = host, s.cfg.Addr
		return nil
	}
	var err error
	for range 100 {
		host := fmt.Sprintf("127.%d.%d.%d", 1+rand.IntN(254), rand.IntN(256), 1+rand.IntN(254))
		if s.guard, err = net.Listen("tcp", net.JoinHostPort(host, fmt.Sprint(guardPort))); err == nil {
			s.host = host
			s.addr = fmt.Sprintf("%s:%d", host, clientPort)
			s.secure = fmt.Sprintf("%s:%d", host, securePort)
			return nil
		}
	}
	return fmt.Errorf("zktest: no free loopback address: %w", err)
}

// Addr returns the host:port for clients.
func (s *Server) Addr() string { return s.addr }

// SecureAddr returns the host:port for TLS clients.
func (s *Server) SecureAddr() string { return s.secure }

// Dir returns the directory with data, configuration and log.
func (s *Server) Dir() string { return s.dir }

// Pid returns the process id of the JVM, 0 if none runs.
func (s *Server) Pid() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.proc == nil {
		return 0
	}
	return s.proc.Pid()
}

// Done returns a channel that is closed when the running JVM has ended.
func (s *Server) Done() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.proc == nil {
		done := make(chan struct{})
		close(done)
		return done
	}
	return s.proc.Done()
}

func (s *Server) logFile() string { return filepath.Join(s.dir, "server.log") }

// Log returns the last 64 KiB of the server's log.
func (s *Server) Log() string { return childproc.Tail(s.logFile(), 64<<10) }

// writeConfig writes zoo.cfg. A later line of the same name wins.
func (s *Server) writeConfig() (string, error) {
	_, port, err := net.SplitHostPort(s.addr)
	if err != nil {
		return "", err
	}
	lines := []string{
		"dataDir=" + filepath.Join(s.dir, "data"),
		"clientPort=" + port,
		"clientPortAddress=" + s.host,
		"tickTime=500",
		"initLimit=40",
		"syncLimit=20",
		"minSessionTimeout=200",
		"maxSessionTimeout=120000",
		"maxClientCnxns=0",
		"admin.enableServer=false",
		"4lw.commands.whitelist=*",
	}
	if s.cfg.TLS != nil {
		lines = append(lines,
			"serverCnxnFactory=org.apache.zookeeper.server.NettyServerCnxnFactory",
			fmt.Sprintf("secureClientPort=%d", securePort),
			"secureClientPortAddress="+s.host,
			"ssl.keyStore.location="+s.cfg.TLS.CertWithKey,
			"ssl.keyStore.type=PEM",
			"ssl.trustStore.location="+s.cfg.TLS.CA,
			"ssl.trustStore.type=PEM",
			"ssl.clientAuth=need")
	}
	lines = append(lines, s.cluster...)
	lines = append(lines, s.cfg.Lines...)
	// java.util.Properties: the last one wins.
	name := filepath.Join(s.dir, "zoo.cfg")
	if err := os.MkdirAll(filepath.Join(s.dir, "data"), 0o755); err != nil {
		return "", err
	}
	if s.id > 0 {
		if err := os.WriteFile(filepath.Join(s.dir, "data", "myid"), fmt.Appendln(nil, s.id), 0o644); err != nil {
			return "", err
		}
	}
	return name, os.WriteFile(name, []byte(strings.Join(lines, "\n")+"\n"), 0o644)
}

// start runs the JVM.
func (s *Server) start() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.proc != nil {
		return errors.New("zktest: the server is running already")
	}
	conf, err := s.writeConfig()
	if err != nil {
		return fmt.Errorf("zktest: %w", err)
	}
	cp, err := classPath()
	if err != nil {
		return err
	}
	if s.cfg.TLS != nil {
		cp += ":" + tlsJars
	}
	args := []string{
		"-Xmx256m", "-Xss512k", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto",
		"-XX:-UsePerfData",
		"-Dzookeeper.forceSync=no", // a killed process loses nothing; only a killed machine would
		"-Dorg.slf4j.simpleLogger.showDateTime=true",
		"-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS",
	}
	if s.cfg.MaxBuffer > 0 {
		args = append(args, fmt.Sprintf("-Djute.maxbuffer=%d", s.cfg.MaxBuffer))
	}
	if s.classes != "" {
		args = append(args, s.classes)
	}
	args = append(args, s.cfg.Java...)
	args = append(args, "-cp", cp, "org.apache.zookeeper.server.quorum.QuorumPeerMain", conf)
	cmd := exec.Command("java", args...)
	cmd.Dir = s.dir
	p, err := childproc.StartLogged(cmd, s.logFile())
	if err != nil {
		return fmt.Errorf("zktest: %w", err)
	}
	s.proc = p
	return nil
}

func (s *Server) startAndWait() error {
	if err := s.start(); err != nil {
		return err
	}
	return s.waitReady()
}

// waitReady waits until srvr names a version and a session opens: before that
// the server answers "not currently serving requests".
func (s *Server) waitReady() error {
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	done := s.Done()
	var last error
	for {
		var text string
		if text, last = s.fourLetter(ctx, "srvr"); last == nil {
			if !strings.HasPrefix(text, "Zookeeper version:") {
				last = fmt.Errorf("srvr: %s", strings.TrimSpace(text))
			} else if _, last = openAndClose(ctx, s.addr, 0, nil); last == nil {
				return nil
			}
		}
		select {
		case <-done:
			return fmt.Errorf("zktest: the server on %s has ended; its log:\n%s", s.addr, s.Log())
		case <-ctx.Done():
			return fmt.Errorf("zktest: the server on %s is not ready after %v: %w; its log:\n%s", s.addr, startTimeout, last, s.Log())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// end ends the JVM with a signal and waits.
func (s *Server) end(sig syscall.Signal) error {
	s.mu.Lock()
	p := s.proc
	s.proc = nil
	s.mu.Unlock()
	if p == nil {
		return nil
	}
	_ = p.Signal(syscall.SIGCONT) // a paused one hears nothing else
	if err := p.Stop(sig, startTimeout); err != nil {
		return fmt.Errorf("zktest: the server on %s: %w", s.addr, err)
	}
	return nil
}

// Stop ends the server in order (SIGTERM) and waits. The data stay.
func (s *Server) Stop() error { return s.end(syscall.SIGTERM) }

// Kill ends the server at once (SIGKILL) and waits. The data stay.
func (s *Server) Kill() error { return s.end(syscall.SIGKILL) }

// Pause freezes the server (SIGSTOP): connections stay, nothing is answered. It
// returns when all threads have stopped, which the signal alone does not say.
func (s *Server) Pause() error {
	if err := s.signal(syscall.SIGSTOP); err != nil {
		return err
	}
	for deadline := time.Now().Add(startTimeout); !stopped(s.Pid()); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			return fmt.Errorf("zktest: the server on %s does not stop", s.addr)
		}
	}
	return nil
}

// stopped reports whether all threads of a process are stopped.
func stopped(pid int) bool {
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	if err != nil || len(tasks) == 0 {
		return false
	}
	for _, name := range tasks {
		stat, err := os.ReadFile(name)
		if err != nil {
			continue // it has ended
		}
		// "4711 (java) T 1 …": the state follows the last parenthesis.
		if _, rest, ok := strings.Cut(string(stat[bytes.LastIndexByte(stat, ')'):]), " "); !ok || rest[0] != 'T' {
			return false
		}
	}
	return true
}

// Resume ends a Pause.
func (s *Server) Resume() error { return s.signal(syscall.SIGCONT) }

func (s *Server) signal(sig syscall.Signal) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.proc == nil {
		return fmt.Errorf("zktest: the server on %s does not run", s.addr)
	}
	return s.proc.Signal(sig)
}

// Restart starts the server again, with the same address and data; if it still
// runs, it is stopped first. It returns when the server takes sessions.
func (s *Server) Restart() error {
	if err := s.Stop(); err != nil {
		return err
	}
	return s.startAndWait()
}

// Backup copies what the server holds on disk into a directory that does not exist
// yet. The server may run: what it has answered is in the copy.
func (s *Server) Backup(dir string) error {
	if err := os.CopyFS(dir, os.DirFS(s.history())); err != nil {
		return fmt.Errorf("zktest: %w", err)
	}
	return nil
}

// Restore kills the server, replaces what it holds by a backup, or by nothing if dir
// is empty, and starts it again. It returns when the server takes sessions, for which
// it has made two transactions or more.
func (s *Server) Restore(dir string) error {
	if err := s.Kill(); err != nil {
		return err
	}
	err := os.RemoveAll(s.history())
	if err == nil && dir != "" {
		err = os.CopyFS(s.history(), os.DirFS(dir))
	}
	if err != nil {
		return fmt.Errorf("zktest: %w", err)
	}
	return s.startAndWait()
}

// history is where the server keeps its snapshots and logs.
func (s *Server) history() string { return filepath.Join(s.dir, "data", "version-2") }

// Start starts a stopped server again, and does not wait: a member of an
// ensemble takes sessions only when there is a quorum.
func (s *Server) Start() error { return s.start() }

// WaitReady waits until the server takes sessions.
func (s *Server) WaitReady() error { return s.waitReady() }

// Close ends the server, and removes its directory if New made it.
func (s *Server) Close() error {
	err := s.end(syscall.SIGKILL)
	if s.guard != nil {
		s.guard.Close()
	}
	if s.ownDir {
		err = errors.Join(err, os.RemoveAll(s.dir))
	}
	return err
}

// FourLetter sends one of ZooKeeper's four letter words ("srvr", "wchs", "mntr",
// "cons", …) and returns the answer.
func (s *Server) FourLetter(word string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return s.fourLetter(ctx, word)
}

func (s *Server) fourLetter(ctx context.Context, word string) (string, error) {
	conn, err := dial(ctx, s.addr)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, word); err != nil {
		return "", fmt.Errorf("zktest: %s: %w", word, err)
	}
	var b bytes.Buffer
	if _, err := io.Copy(&b, conn); err != nil {
		return "", fmt.Errorf("zktest: %s: %w", word, err)
	}
	return b.String(), nil
}
