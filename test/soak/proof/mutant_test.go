package proof

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Each mutant is a program that builds: what soak mutants then runs.
func TestMutantsBuild(t *testing.T) {
	if testing.Short() {
		t.Skip("builds magellan for each mutant")
	}
	for _, m := range Mutants {
		t.Run(m.Name, func(t *testing.T) {
			if _, err := m.Build(t.Context(), "../../..", t.TempDir()); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestOverlay(t *testing.T) {
	root := t.TempDir()
	source := filepath.Join(root, "a.go")
	const text = "one two three two"
	if err := os.WriteFile(source, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name  string
		edits []edit
		want  string // the file, or part of the error
	}{
		{"one edit", []edit{{"a.go", "one", "1"}}, "1 two three two"},
		{"two edits of one file", []edit{{"a.go", "one", "1"}, {"a.go", "three", "3"}}, "1 two 3 two"},
		{"an edit of an edit", []edit{{"a.go", "one", "four"}, {"a.go", "four", "4"}}, "4 two three two"},
		{"a text that is not there", []edit{{"a.go", "five", "5"}}, "stands 0 times in a.go"},
		{"a text that is there twice", []edit{{"a.go", "two", "2"}}, "stands 2 times in a.go"},
		{"a file that is not there", []edit{{"b.go", "one", "1"}}, "no such file"},
	} {
		t.Run(c.name, func(t *testing.T) {
			file, err := Mutant{Name: c.name, edits: c.edits}.overlay(root, t.TempDir())
			if err != nil {
				if !strings.Contains(err.Error(), c.want) {
					t.Error(err)
				}
				return
			}
			var overlay struct{ Replace map[string]string }
			if b, err := os.ReadFile(file); err != nil {
				t.Fatal(err)
			} else if err := json.Unmarshal(b, &overlay); err != nil {
				t.Fatal(err)
			}
			if got, err := os.ReadFile(overlay.Replace[source]); err != nil || string(got) != c.want {
				t.Errorf("the file becomes %q, %v, want %q", got, err, c.want)
			}
			if got, err := os.ReadFile(source); err != nil || string(got) != text {
				t.Errorf("the source has become %q, %v", got, err)
			}
		})
	}
}
