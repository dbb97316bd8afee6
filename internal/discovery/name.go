package discovery

import (
	"fmt"
	"unicode/utf8"
)

// MaxNameBytes is the greatest length of a name. ZooKeeper itself has no such rule. The
// limit exists because names become part of URLs, log lines and watches, and each watch
// takes memory for its path.
const MaxNameBytes = 255

// ValidateName returns nil if a znode can have the name: if it is one element of a path by
// the rules of ZooKeeper's PathUtils.validatePath, in valid UTF-8, of at most
// [MaxNameBytes] bytes. Otherwise the error wraps [ErrInvalidName] and says which rule is
// broken.
func ValidateName(name string) error {
	if len(name) > MaxNameBytes {
		return fmt.Errorf("%w: it has %d bytes, more than %d", ErrInvalidName, len(name), MaxNameBytes)
	}
	return ValidateElement(name)
}

// ValidateElement is [ValidateName] without a bound. Names that others have chosen may be longer
// than those of magellan's own znodes: Dubbo's are.
func ValidateElement(name string) error {
	switch {
	case name == "":
		return fmt.Errorf("%w: it is empty", ErrInvalidName)
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
			// Nearly all names have only such characters, so this case stands before
			// the others that are rarer.
		case r == utf8.RuneError:
			if _, size := utf8.DecodeRuneInString(name[i:]); size == 1 {
				return fmt.Errorf("%w: %q is not valid UTF-8", ErrInvalidName, name)
			}
			fallthrough
		case r <= 0xf8ff || 0xfff0 <= r:
			// These are the private use area, the end of the basic plane, and all
			// that is beyond that plane. In Java such a character is a pair of
			// surrogates, and the server refuses surrogates.
			return fmt.Errorf("%w: %q holds %U, which ZooKeeper allows in no path", ErrInvalidName, name, r)
		}
	}
	return nil
}
