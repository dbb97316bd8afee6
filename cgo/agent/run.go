package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// DefaultSample is the default mean number of allocated bytes between two samples.
const DefaultSample = 512 << 10

// Variables of the environment with which a program is started.
const (
	preloadVariable = "LD_PRELOAD"
	configVariable  = "MAGELLAN_AGENT" // the agent's configuration
)

// RunConfig says how a program is started under the agent.
type RunConfig struct {
	// Args is the command: the path of a program or script, or a name that is looked up in
	// PATH, and its arguments.
	Args []string

	// Env is the environment. Default: that of this process.
	Env []string

	// Sample is the mean number of allocated bytes between two samples. Default:
	// DefaultSample. 1 samples each allocation.
	Sample int64

	// Children leaves the agent in the environment of a Go program, so that programs that
	// it starts have an agent too. Other programs, such as shells, always leave it there.
	Children bool

	// Off starts the program without sampling. Client.SetActive switches it on.
	Off bool
}

// Cmd is a program that can be started under the agent.
type Cmd struct {
	Path    string
	Args    []string
	Env     []string
	Program *Program

	library *os.File
}

// Command makes a Cmd. The agent travels in a file in memory, so no writable disk is
// needed. Programs inherit the file under the number that is in LD_PRELOAD. Command fails
// if the program cannot be found, with an *Obstacle if the agent cannot work in the program,
// or with ErrNotBuilt.
func Command(cfg RunConfig) (*Cmd, error) { return cfg.command(Library) }

func (c *RunConfig) command(library func() ([]byte, error)) (*Cmd, error) {
	path, err := c.lookUp()
	if err != nil {
		return nil, err
	}
	program, err := Inspect(path)
	if err != nil {
		return nil, err
	}
	if obstacle := program.Obstacle(); obstacle != nil {
		return nil, obstacle
	}
	content, err := library()
	if err != nil {
		return nil, err
	}
	file, err := inMemory(content)
	if err != nil {
		return nil, fmt.Errorf("put the agent into a file in memory: %w", err)
	}
	env := c.Env
	if env == nil {
		env = os.Environ()
	}
	if _, err := os.Stat(libraryPath(file.Fd())); err != nil {
		file.Close()
		return nil, errors.New("the dynamic loader could not find the agent, because /proc is not mounted: mount it, or write the library with magellan heap agent and name it in LD_PRELOAD")
	}
	return &Cmd{Path: path, Args: c.Args, Env: c.environment(env, file.Fd()), Program: program, library: file}, nil
}

// lookUp returns the path of the program.
func (c *RunConfig) lookUp() (string, error) {
	if len(c.Args) == 0 {
		return "", errors.New("no command is given")
	}
	name := c.Args[0]
	path, err := exec.LookPath(name)
	var failed *exec.Error
	switch {
	case err == nil:
		return path, nil
	case errors.Is(err, exec.ErrDot):
		return "", &said{exec.ErrNotFound, fmt.Sprintf("%s is in the current directory, where commands are not looked up: write ./%[1]s", name)}
	case errors.Is(err, exec.ErrNotFound):
		return "", &said{exec.ErrNotFound, fmt.Sprintf("%s is in no directory of PATH: check the name, or give the path of the program", name)}
	case errors.As(err, &failed):
		return "", fmt.Errorf("%s cannot be started: %w", name, failed.Err)
	}
	return "", err
}

// libraryPath is where the program finds the open file.
func libraryPath(fd uintptr) string { return fmt.Sprintf("/proc/self/fd/%d", fd) }

// environment returns the environment with which the program is started. A library that is
// to be preloaded already stays behind the agent.
func (c *RunConfig) environment(env []string, fd uintptr) []string {
	preload := []string{libraryPath(fd)}
	env = slices.DeleteFunc(slices.Clone(env), func(v string) bool {
		name, value, _ := strings.Cut(v, "=")
		if name == preloadVariable {
			preload = append(preload, withoutAgent(value)...)
		}
		return name == preloadVariable || name == configVariable
	})
	sample := c.Sample
	if sample <= 0 {
		sample = DefaultSample
	}
	flag := map[bool]int{true: 1}
	return append(env,
		preloadVariable+"="+strings.Join(preload, ":"),
		fmt.Sprintf("%s=sample=%d,children=%d,off=%d", configVariable, sample, flag[c.Children], flag[c.Off]))
}

// withoutAgent splits the value of LD_PRELOAD and leaves an agent out: there may be only one in
// a process.
func withoutAgent(value string) []string {
	entries := strings.FieldsFunc(value, func(r rune) bool { return r == ':' || r == ' ' })
	return slices.DeleteFunc(entries, func(entry string) bool {
		if filepath.Base(entry) == LibraryName {
			return true
		}
		target, err := os.Readlink(entry)
		return err == nil && strings.HasPrefix(target, "/memfd:"+LibraryName)
	})
}

// inMemory returns a sealed file in memory that programs inherit.
func inMemory(content []byte) (*os.File, error) {
	// The loader only maps the file, so it need not be executable. Some systems do not
	// allow executable files in memory. Kernels before 6.3 do not know the flag.
	fd, err := unix.MemfdCreate(LibraryName, unix.MFD_ALLOW_SEALING|unix.MFD_NOEXEC_SEAL)
	if err == unix.EINVAL {
		fd, err = unix.MemfdCreate(LibraryName, unix.MFD_ALLOW_SEALING)
	}
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	f := os.NewFile(uintptr(fd), LibraryName)
	if _, err := f.Write(content); err != nil {
		f.Close()
		return nil, err
	}
	if _, err := unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, unix.F_SEAL_WRITE|unix.F_SEAL_GROW|unix.F_SEAL_SHRINK|unix.F_SEAL_SEAL); err != nil {
		f.Close()
		return nil, os.NewSyscallError("fcntl", err)
	}
	// Shell scripts use low numbers themselves ("exec 3>file"). If there are not so many,
	// the number stays as it is.
	const high = 100
	if to, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD, high); err == nil {
		f.Close()
		f = os.NewFile(uintptr(to), LibraryName)
	}
	return f, nil
}

// Exec replaces this process by the program, which so has its number, its terminal and its
// parent. It returns only if it fails.
func (c *Cmd) Exec() error {
	err := syscall.Exec(c.Path, c.Args, c.Env)
	return &fs.PathError{Op: "exec", Path: c.Path, Err: err}
}

// Close frees the file in memory of a Cmd that is not started.
func (c *Cmd) Close() error { return c.library.Close() }
