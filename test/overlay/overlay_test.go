package overlay

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestWrite(t *testing.T) {
	root := t.TempDir()
	source := filepath.Join(root, "a.go")
	const text = "one two three two"
	if err := os.WriteFile(source, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name  string
		edits []Edit
		want  string // the file, or part of the error
	}{
		{"one edit", []Edit{{"a.go", "one", "1"}}, "1 two three two"},
		{"two edits of one file", []Edit{{"a.go", "one", "1"}, {"a.go", "three", "3"}}, "1 two 3 two"},
		{"an edit of an edit", []Edit{{"a.go", "one", "four"}, {"a.go", "four", "4"}}, "4 two three two"},
		{"a text that is not there", []Edit{{"a.go", "five", "5"}}, "stands 0 times in a.go"},
		{"a text that is there twice", []Edit{{"a.go", "two", "2"}}, "stands 2 times in a.go"},
		{"a file that is not there", []Edit{{"b.go", "one", "1"}}, "no such file"},
	} {
		t.Run(c.name, func(t *testing.T) {
			replace, err := write(t, root, Change{Edits: c.edits})
			if err != nil {
				if !strings.Contains(err.Error(), c.want) {
					t.Error(err)
				}
				return
			}
			if got, err := os.ReadFile(replace[source]); err != nil || string(got) != c.want {
				t.Errorf("the file becomes %q, %v, want %q", got, err, c.want)
			}
			if got, err := os.ReadFile(source); err != nil || string(got) != text {
				t.Errorf("the source has become %q, %v", got, err)
			}
		})
	}
}

func TestAdded(t *testing.T) {
	root := t.TempDir()
	replace, err := write(t, root,
		Change{Added: map[string]string{"cmd/new.go": "test/new.go"}},
		Change{Added: map[string]string{"cmd/new.c": "test/new.c"}})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"cmd/new.go": "test/new.go", "cmd/new.c": "test/new.c"} {
		if got := replace[filepath.Join(root, name)]; got != filepath.Join(root, want) {
			t.Errorf("%s is %q, want %q below %s", name, got, want, root)
		}
	}
}

// write returns what Write has replaced.
func write(t *testing.T, root string, changes ...Change) (map[string]string, error) {
	t.Helper()
	file, err := Write(root, t.TempDir(), "overlay.json", changes...)
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var written struct{ Replace map[string]string }
	if err := json.Unmarshal(text, &written); err != nil {
		t.Fatal(err)
	}
	return written.Replace, nil
}
