package zookeeper

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Server is a ZooKeeper server of one machine, for tests: a directory with its
// configuration, its data and its log. It is started as a process of its own, which goes
// on when the program ends. Its functions must not be called side by side.
type Server struct {
	runDir string
	zkDir  string // empty: the distribution's ZooKeeper
}

// The files of a run directory.
const (
	configFile  = "zoo.cfg"
	logConfig   = "log4j.properties"
	logFile     = "log.txt"
	installFile = "zkdir.txt" // holds zkDir
	pidFile     = "pid.txt"   // there while the server runs, or has died
)

// CreateServer makes the directory runDir, whose parent must exist, for a server that
// listens on the TCP port. It is an error if there is something in it. zkDir is where
// ZooKeeper's jars are, such as an unpacked release; if it is empty, those of Debian's
// package are used. The server is not started.
func CreateServer(port int, runDir, zkDir string) (*Server, error) {
	runDir, err := filepath.Abs(runDir)
	if err != nil {
		return nil, err
	}
	if err := os.Mkdir(runDir, 0o777); err != nil {
		if !errors.Is(err, os.ErrExist) {
			return nil, err
		}
		files, err := os.ReadDir(runDir)
		if err != nil {
			return nil, err
		}
		if len(files) > 0 {
			return nil, fmt.Errorf("server directory %q is not empty", runDir)
		}
	}
	srv := &Server{runDir: runDir, zkDir: zkDir}
	for name, text := range map[string]string{
		configFile: fmt.Sprintf("tickTime=2000\ndataDir=%s\nclientPort=%d\nmaxClientCnxns=500\n", runDir, port),
		logConfig: "log4j.rootLogger=INFO, CONSOLE\n" +
			"log4j.appender.CONSOLE=org.apache.log4j.ConsoleAppender\n" +
			"log4j.appender.CONSOLE.layout=org.apache.log4j.PatternLayout\n" +
			"log4j.appender.CONSOLE.layout.ConversionPattern=%d{ISO8601} %-5p [%t] %c{1}: %m%n\n",
		installFile: zkDir,
	} {
		if err := os.WriteFile(srv.path(name), []byte(text), 0o666); err != nil {
			return nil, err
		}
	}
	return srv, nil
}

// AttachServer returns the Server of a directory that CreateServer has made, in this
// process or an earlier one. Whether it runs makes no difference.
func AttachServer(runDir string) (*Server, error) {
	runDir, err := filepath.Abs(runDir)
	if err != nil {
		return nil, err
	}
	srv := &Server{runDir: runDir}
	zkDir, err := os.ReadFile(srv.path(installFile))
	if err != nil {
		return nil, fmt.Errorf("cannot read server install directory: %w", err)
	}
	srv.zkDir = string(zkDir)
	return srv, nil
}

// path returns the path of a file of the run directory.
func (srv *Server) path(name string) string { return filepath.Join(srv.runDir, name) }

// Addr returns the address and port of the server on this machine, whether or not it
// runs. The error is that of reading its configuration.
func (srv *Server) Addr() (string, error) {
	config, err := os.Open(srv.path(configFile))
	if err != nil {
		return "", err
	}
	defer config.Close()
	lines := bufio.NewScanner(config)
	for lines.Scan() {
		text, ok := strings.CutPrefix(strings.TrimSpace(lines.Text()), "clientPort=")
		if !ok {
			continue
		}
		port, err := strconv.ParseUint(strings.TrimSpace(text), 10, 16)
		if err != nil {
			return "", fmt.Errorf("%s: the port %q is no number up to 65535", config.Name(), text)
		}
		return net.JoinHostPort("127.0.0.1", strconv.FormatUint(port, 10)), nil
	}
	if err := lines.Err(); err != nil {
		return "", err
	}
	return "", fmt.Errorf("%s has no line clientPort=PORT", config.Name())
}

// Destroy stops the server and deletes its directory, with all data.
func (srv *Server) Destroy() error {
	if err := srv.Stop(); err != nil {
		return err
	}
	return os.RemoveAll(srv.runDir)
}
