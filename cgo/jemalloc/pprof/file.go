package pprof

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// tempPrefix begins the names of files that are being written, if the file system does not
// have files without names (O_TMPFILE).
const tempPrefix = ".writing-"

// writeFile makes a file that is complete or does not exist, even if the process is killed
// meanwhile. If there is a file of that name, writeFile replaces it, or fails with
// fs.ErrExist if replace is false. It writes the file without a name (O_TMPFILE) and then
// gives it its name. The file is not synced: it must survive the end of the process, but not
// a crash of the machine.
//
// The package renameio, which writes other files of this module, always replaces and
// always syncs, and its temporary file stays behind if the process is killed.
func writeFile(path string, text []byte, replace bool) error {
	fd, err := unix.Open(filepath.Dir(path), unix.O_TMPFILE|unix.O_WRONLY|unix.O_CLOEXEC, 0o600)
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EISDIR) {
		return writeNamed(path, text, replace)
	}
	if err != nil {
		return fmt.Errorf("open a file in %s: %w", filepath.Dir(path), err)
	}
	f := os.NewFile(uintptr(fd), path)
	defer f.Close()
	if _, err := f.Write(text); err != nil {
		return err
	}
	link := func(name string) error {
		return unix.Linkat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", fd), unix.AT_FDCWD, name, unix.AT_SYMLINK_FOLLOW)
	}
	err = link(path)
	if errors.Is(err, fs.ErrExist) && replace {
		temp := filepath.Join(filepath.Dir(path), tempPrefix+filepath.Base(path))
		if err := os.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err = link(temp); err == nil {
			err = os.Rename(temp, path)
		}
	}
	if err != nil {
		return fmt.Errorf("name the file %s: %w", path, err)
	}
	return nil
}

// writeNamed does the same, but writes the file under another name first. If the process is
// killed meanwhile, that file is left, and the next process removes it.
func writeNamed(path string, text []byte, replace bool) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), tempPrefix)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			f.Close() // a second Close is harmless
			os.Remove(f.Name())
		}
	}()
	if _, err := f.Write(text); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if !replace {
		if _, err := os.Lstat(path); err == nil {
			return fmt.Errorf("name the file %s: %w", path, fs.ErrExist)
		}
	}
	return os.Rename(f.Name(), path)
}
