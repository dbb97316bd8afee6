package discovery

import (
	"errors"
	"fmt"
	"strings"
)

// MaxPathBytes is the greatest length of a path that a client may name. ZooKeeper itself has no
// such rule; see [MaxNameBytes].
const MaxPathBytes = 4096

// ValidatePath returns nil if there can be a znode at the path: if it is absolute, and each of
// its elements is valid by the rules of [ValidateName], of any length. Otherwise the error wraps
// [ErrInvalidName].
func ValidatePath(path string) error {
	switch {
	case len(path) > MaxPathBytes:
		return fmt.Errorf("%w: a path of %d bytes, more than %d", ErrInvalidName, len(path), MaxPathBytes)
	case path == "/":
		return nil
	case !strings.HasPrefix(path, "/"):
		return fmt.Errorf("%w: the path %q does not start with a slash", ErrInvalidName, path)
	case strings.HasSuffix(path, "/"):
		return fmt.Errorf("%w: the path %q ends with a slash", ErrInvalidName, path)
	}
	for element := range strings.SplitSeq(path[1:], "/") {
		if err := ValidateElement(element); err != nil {
			return fmt.Errorf("path %q: %w", path, err)
		}
	}
	return nil
}

// ParsePath reads the path of a znode that an operator gives. A slash at its end is left out.
func ParsePath(text string) (string, error) {
	if !strings.HasPrefix(text, "/") {
		return "", errors.New("the path does not start with a slash")
	}
	if text != "/" {
		text = strings.TrimSuffix(text, "/")
	}
	return text, ValidatePath(text)
}

// Below reports whether a path is dir, or that of a znode below dir.
func Below(path, dir string) bool {
	rest, ok := strings.CutPrefix(path, strings.TrimSuffix(dir, "/"))
	return ok && (rest == "" || rest[0] == '/')
}
