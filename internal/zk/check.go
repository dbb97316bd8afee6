package zk

import (
	"fmt"
	"math"
	"strings"
	"unicode/utf8"
)

// Lengths of a request on the wire, in bytes. jute writes an int32 before each
// string, buffer and vector.
const (
	headerLen   = 8 // xid, type
	lenLen      = 4
	multiHeader = 9 // type, done, err
)

// checkPath refuses a path that libzookeeper or the server would refuse, with a better
// reason. It also refuses a path that would be changed on its way: C ends strings at a
// NUL, and Java replaces bytes that are not UTF-8. sequential permits a final slash.
func checkPath(o Operation, path string, sequential bool) error {
	bad := func(format string, args ...any) error {
		return &Error{Op: o.String(), Path: path, Code: ErrBadArguments, Detail: fmt.Sprintf(format, args...)}
	}
	if path == "" {
		return bad("the path is empty; the root is /")
	}
	if path[0] != '/' {
		return bad("the path must start with /")
	}
	if len(path) == 1 {
		return nil
	}
	rest := path[1:]
	if sequential {
		rest = strings.TrimSuffix(rest, "/")
	}
	start := 0
	for i := 0; i <= len(rest); i++ {
		if i < len(rest) && rest[i] != '/' {
			if c := rest[i]; c < 0x20 || c == 0x7f {
				return bad("the path has a control character %#x at byte %d", c, i+1)
			}
			continue
		}
		switch name := rest[start:i]; name {
		case "":
			return bad("the path has an empty name, or a slash at its end")
		case ".", "..":
			if !sequential || i < len(rest) {
				return bad("the path must not contain %q", name)
			}
		}
		start = i + 1
	}
	if !utf8.ValidString(path) {
		return bad("the path is not UTF-8; ZooKeeper would change it")
	}
	return nil
}

// checkSize refuses a request that is so long that the server would cut the connection.
// n is its length without the chroot, which is before each of its paths.
func (c *client) checkSize(o Operation, path string, n, paths int) error {
	n += paths * len(c.chroot)
	if n <= c.cfg.MaxRequest && n <= math.MaxInt32 {
		return nil
	}
	return &Error{Op: o.String(), Path: path, Code: ErrTooLarge,
		Detail: fmt.Sprintf("it has %d bytes, the limit is %d (jute.maxbuffer on the servers and Config.MaxRequest here)", n, c.cfg.MaxRequest)}
}

func pathLen(path string) int { return lenLen + len(path) }

func aclLen(acl []ACL) int {
	n := lenLen
	for _, a := range acl {
		n += 4 + lenLen + len(a.Scheme) + lenLen + len(a.ID)
	}
	return n
}

func checkACL(o Operation, path string, acl []ACL) error {
	bad := func(why string) error {
		return &Error{Op: o.String(), Path: path, Code: ErrBadArguments, Detail: why}
	}
	for _, a := range acl {
		if a.Scheme == "" || strings.IndexByte(a.Scheme, 0) >= 0 || strings.IndexByte(a.ID, 0) >= 0 {
			return bad("an ACL's scheme must not be empty, and neither scheme nor identity may hold a NUL")
		}
		if a.Perms&^PermAll != 0 {
			return bad(fmt.Sprintf("the ACL has unknown permissions %#x", int32(a.Perms&^PermAll)))
		}
	}
	return nil
}
