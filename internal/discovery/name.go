package discovery

import (
	"fmt"
	"unicode/utf8"
)

// MaxNameBytes bounds every name. ZooKeeper itself has no such rule; names go
// into URLs, log lines and watches, whose memory they are paid in.
const MaxNameBytes = 255

// ValidateName reports whether name can be the name of a thing that is kept in a
// znode of that name: one element of a znode's path, as ZooKeeper's
// PathUtils.validatePath has it, in valid UTF-8 of at most 255 bytes. The error
// wraps [ErrInvalidName] and says which rule is broken.
func ValidateName(name string) error {
	switch {
	case name == "":
		return fmt.Errorf("%w: it is empty", ErrInvalidName)
	case len(name) > MaxNameBytes:
		return fmt.Errorf("%w: it has %d bytes, more than %d", ErrInvalidName, len(name), MaxNameBytes)
	case name == "." || name == "..":
		return fmt.Errorf("%w: %q is a relative path", ErrInvalidName, name)
	}
	for i, r := range name {
		switch {
		case r == '/':
			return fmt.Errorf("%w: %q holds a slash", ErrInvalidName, name)
		case r < ' ' || 0x7f <= r && r <= 0x9f:
			return fmt.Errorf("%w: %q holds the control character %U", ErrInvalidName, name, r)
		case r < 0xd800:
			// What nearly all names are made of: first out of the way.
		case r == utf8.RuneError:
			if _, size := utf8.DecodeRuneInString(name[i:]); size == 1 {
				return fmt.Errorf("%w: %q is not valid UTF-8", ErrInvalidName, name)
			}
			fallthrough
		case r <= 0xf8ff || 0xfff0 <= r:
			// Private use, the end of the basic plane, and everything beyond
			// it: Java sees surrogates there, and the server refuses them.
			return fmt.Errorf("%w: %q holds %U, which ZooKeeper allows in no path", ErrInvalidName, name, r)
		}
	}
	return nil
}
