package overlay

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Change is what an overlay changes. Its files are named relative to the repository's
// folder.
type Change struct {
	Edits []Edit
	// Added are files that the sources do not have, and for each the file with its text.
	Added map[string]string
}

// Edit replaces a text that has to stand in a file exactly once.
type Edit struct{ File, From, To string }

// Write writes the edited files of the repository at root into dir. It also writes the
// file for `go build -overlay` there, under the given name, and returns its path.
func Write(root, dir, name string, changes ...Change) (file string, err error) {
	if root, err = filepath.Abs(root); err != nil {
		return "", err
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return "", err
	}
	replace := map[string]string{}
	for _, c := range changes {
		for _, e := range c.Edits {
			if err := e.apply(root, dir, replace); err != nil {
				return "", err
			}
		}
		for added, text := range c.Added {
			replace[filepath.Join(root, added)] = filepath.Join(root, text)
		}
	}
	text, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	file = filepath.Join(dir, name)
	return file, os.WriteFile(file, text, 0o644)
}

// apply edits the copy of the file in dir, and makes that copy if replace has none.
func (e Edit) apply(root, dir string, replace map[string]string) error {
	source := filepath.Join(root, e.File)
	target, again := replace[source]
	from := target
	if !again {
		target = filepath.Join(dir, fmt.Sprintf("%d-%s", len(replace), filepath.Base(source)))
		replace[source], from = target, source
	}
	text, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	if n := strings.Count(string(text), e.From); n != 1 {
		return fmt.Errorf("this text stands %d times in %s, not once; make the edit fit the code again:\n%s", n, e.File, e.From)
	}
	return os.WriteFile(target, []byte(strings.Replace(string(text), e.From, e.To, 1)), 0o644)
}
