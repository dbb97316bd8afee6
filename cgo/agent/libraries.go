package agent

import (
	"context"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"magellan/cgo/jemalloc/heapprof"
)

// An agent records at most 128 libraries, and at most 512 return addresses of each. A later
// one may record more.
const (
	maxLibraries   = 1024
	maxLibraryPCs  = 4096
	maxLibraryPath = 4096 // as the kernel's
	maxBuildID     = 64   // bytes
)

// Libraries returns the libraries that were on the stacks of samples and that the process
// can close, in the order in which they were first seen. more reports whether there were
// others. Some may be closed already, and another library may have its addresses.
//
// The path of a library is as the dynamic linker of the process has it. It may be relative
// to the working directory of the process, may have symbolic links and any bytes in it, and
// belongs to the file system of the process.
func (c *Client) Libraries(ctx context.Context) (all []heapprof.Loaded, more bool, err error) {
	text, err := c.text(ctx, "libraries")
	if err != nil {
		return nil, false, err
	}
	if all, more, err = parseLibraries(text); err != nil {
		return nil, false, fmt.Errorf("process %d: %w", c.pid, err)
	}
	return all, more, nil
}

// parseLibraries parses lines "key value". A line with the key library begins a library. If
// a key is unknown, its line is ignored: a later agent may have more.
func parseLibraries(text string) (all []heapprof.Loaded, more bool, err error) {
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		switch key {
		case "more":
			more = value == "yes"
			continue
		case "library":
			if len(all) == maxLibraries {
				return nil, false, fmt.Errorf("%w: it has more than %d libraries", ErrTooLarge, maxLibraries)
			}
			all = append(all, heapprof.Loaded{Mapping: heapprof.Mapping{Exec: true}})
		}
		if len(all) == 0 {
			continue
		}
		if err := parseLibrary(&all[len(all)-1], key, value); err != nil {
			return nil, false, err
		}
	}
	for i := range all {
		if l := &all[i]; l.File == "" || l.BuildID == "" && l.Headers == 0 {
			return nil, false, fmt.Errorf("%w: the library at %#x has no path, or nothing that tells its builds apart", ErrProtocol, l.Start)
		}
	}
	return all, more, nil
}

// parseLibrary parses one line of a library.
func parseLibrary(l *heapprof.Loaded, key, value string) (err error) {
	switch key {
	case "library":
		start, limit, _ := strings.Cut(value, "-")
		if l.Start, err = strconv.ParseUint(start, 0, 64); err == nil {
			l.Limit, err = strconv.ParseUint(limit, 0, 64)
		}
		if err == nil && l.Start >= l.Limit {
			err = strconv.ErrRange
		}
	case "offset":
		l.Offset, err = strconv.ParseUint(value, 0, 64)
	case "build_id":
		if len(value) > 2*maxBuildID {
			return fmt.Errorf("%w: a build-id of %d digits", ErrTooLarge, len(value))
		}
		_, err = hex.DecodeString(value)
		l.BuildID = value
	case "headers":
		l.Headers, err = strconv.ParseUint(value, 0, 64)
	case "path":
		if len(value) > maxLibraryPath {
			return fmt.Errorf("%w: a path of %d bytes", ErrTooLarge, len(value))
		}
		l.File = value
	case "all":
		l.All = value == "yes"
	case "pcs":
		for word := range strings.FieldsSeq(value) {
			if len(l.PCs) == maxLibraryPCs {
				return fmt.Errorf("%w: a library with more than %d addresses", ErrTooLarge, maxLibraryPCs)
			}
			pc, err := strconv.ParseUint(word, 0, 64)
			if err != nil {
				return fmt.Errorf("%w: %.40q is no address", ErrProtocol, word)
			}
			l.PCs = append(l.PCs, pc)
		}
	}
	if err != nil {
		return fmt.Errorf("%w: a library with %s %.40q", ErrProtocol, key, value)
	}
	return nil
}

// fileSystem is how a process sees its files.
type fileSystem struct {
	root    string // the directory that is the process's root, or nothing if it is ours
	working string // the process's working directory, as the process sees it
}

// fileSystemOf returns that of a process. If the working directory is not known, it is the
// root.
func fileSystemOf(pid int, root string) fileSystem {
	fs := fileSystem{root: root, working: "/"}
	working, err := os.Readlink(procPath(pid, "cwd"))
	if err != nil {
		return fs
	}
	fs.working = working
	if changed, err := os.Readlink(procPath(pid, "root")); err == nil {
		fs.working = within(changed, working)
	}
	return fs
}

// within returns the path that a file has for a process with another root directory
// (chroot). Both paths are as we see them. If the root is that of a container, the path is
// already what the process sees, and the root is /.
func within(root, path string) string {
	inside, ok := strings.CutPrefix(path, root)
	switch {
	case !ok || root == "/":
		return path
	case inside == "":
		return "/"
	case inside[0] != '/': // a neighbour of the root with a longer name
		return path
	}
	return inside
}

// real returns a path in the form of the memory map of the process: absolute, without
// symbolic links. It follows them itself, because those of another root do not lead where
// the kernel would lead us.
func (fs fileSystem) real(path string) string {
	const maxLinks = 40 // as the kernel's
	if !filepath.IsAbs(path) {
		path = fs.working + "/" + path
	}
	done, links := "/", 0
	for names := strings.Split(path, "/"); len(names) > 0; {
		name := names[0]
		names = names[1:]
		next := filepath.Join(done, name)
		if name == "" || name == "." || name == ".." {
			done = next
			continue
		}
		target, err := os.Readlink(fs.root + next)
		if err != nil || links == maxLinks { // it is no link, or there is nothing
			done = next
			continue
		}
		links++
		if filepath.IsAbs(target) {
			done = "/"
		}
		names = append(strings.Split(target, "/"), names...)
	}
	return done
}
