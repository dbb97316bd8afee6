package services

import (
	"fmt"
	"path"
	"strings"
	"sync/atomic"

	"magellan/internal/discovery"
)

// Bounds of what is followed below a mount. What is beyond them is a problem of its znode.
const (
	// MaxDepth is how many directories may stand in one another. A serverset has three: the
	// role, the environment and the job.
	MaxDepth = 8
	// MaxDirectories is how many directories one mount may have.
	MaxDirectories = 200_000
)

// ValidateName returns nil if a service can have the name: the elements of a path below a mount.
func ValidateName(name string) error {
	for element := range strings.SplitSeq(name, "/") {
		if err := discovery.ValidateElement(element); err != nil {
			return fmt.Errorf("service %q: %w", name, err)
		}
	}
	if len(name) > discovery.MaxPathBytes {
		return fmt.Errorf("%w: a service's name of %d bytes, more than %d", discovery.ErrInvalidName, len(name), discovery.MaxPathBytes)
	}
	return nil
}

// Mount is a layout at a path. Its methods are safe for concurrent use.
type Mount struct {
	Layout *Layout
	// Path is the path that the operator has given, without a slash at its end.
	Path string
	// dir is the path that is mirrored, and own the name of the service whose instances are
	// children of dir itself.
	dir, own string
	// versions is the greatest version that a directory of the mount has had.
	versions atomic.Uint64
}

// ParseMount reads LAYOUT:PATH, such as curator:/services. The error says what is wrong.
func ParseMount(text string) (*Mount, error) {
	name, at, ok := strings.Cut(text, ":")
	if !ok {
		return nil, fmt.Errorf("%q: want LAYOUT:PATH, such as curator:/services", text)
	}
	l, err := LayoutNamed(name)
	if err != nil {
		return nil, fmt.Errorf("%q: %w", text, err)
	}
	if at, err = discovery.ParsePath(at); err != nil {
		return nil, fmt.Errorf("%q: %w", text, err)
	}
	m := &Mount{Layout: l, Path: at, dir: at, own: path.Base(at)}
	if l.Base != nil {
		m.dir, m.own = l.Base(at)
	}
	return m, nil
}

// String returns LAYOUT:PATH.
func (m *Mount) String() string { return m.Layout.Name + ":" + m.Path }

// Root returns the path of the znode that is mirrored.
func (m *Mount) Root() string { return m.dir }

// Znode returns the path of a znode in a directory of the mount.
func (m *Mount) Znode(dir, name string) string {
	p := strings.TrimSuffix(m.dir, "/")
	if dir != "" {
		p += "/" + dir
	}
	return p + "/" + name
}

// inside says what the children of a directory are.
func (m *Mount) inside(dir string) Inside {
	if m.Layout.Inside == nil {
		return Mixed
	}
	return m.Layout.Inside(dir)
}

// serviceIn returns the name of the service whose instances are in a directory.
func (m *Mount) serviceIn(dir string) string {
	switch {
	case dir == "":
		return m.own
	case m.Layout.Service == nil:
		return dir
	default:
		return m.Layout.Service(dir)
	}
}

// dirOf returns the directory of a service that is not the mount's own.
func (m *Mount) dirOf(service string) string {
	if m.Layout.Dir == nil {
		return service
	}
	return m.Layout.Dir(service)
}
