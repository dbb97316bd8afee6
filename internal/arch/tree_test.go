package arch

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
)

const module = "magellan"

// A tree is the repository as the rules see it: all files, and the Go files
// parsed whatever their build tags are.
type tree struct {
	files    map[string]file
	links    map[string]string // targets by path
	packages map[string]*pkg   // by folder; those with a Go file that is no test
	fset     *token.FileSet
}

type file struct {
	mode fs.FileMode
	data []byte
}

type pkg struct {
	name   string
	source map[string]*ast.File // by path
	tests  map[string]*ast.File
}

// readTree skips what git ignores: other people's and built files.
func readTree(root fs.FS) (*tree, error) {
	t := &tree{files: map[string]file{}, links: map[string]string{}, packages: map[string]*pkg{}, fset: token.NewFileSet()}
	err := fs.WalkDir(root, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if hidden := strings.HasPrefix(entry.Name(), ".") && name != "." && name != ".ci"; hidden || name == "dist" {
				return fs.SkipDir
			}
			return nil
		}
		if entry.Type() == fs.ModeSymlink {
			t.links[name], err = fs.ReadLink(root, name)
			return err
		}
		if !entry.Type().IsRegular() || slices.Contains([]string{".test", ".prof"}, path.Ext(name)) {
			return nil
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		data, err := fs.ReadFile(root, name)
		if err != nil {
			return err
		}
		t.files[name] = file{info.Mode(), data}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for name, f := range t.files {
		if path.Ext(name) != ".go" || strings.Contains("/"+name, "/testdata/") {
			continue
		}
		parsed, err := parser.ParseFile(t.fset, name, f.data, parser.ParseComments)
		if err != nil {
			return nil, err
		}
		dir := path.Dir(name)
		p := t.packages[dir]
		if p == nil {
			p = &pkg{source: map[string]*ast.File{}, tests: map[string]*ast.File{}}
			t.packages[dir] = p
		}
		if strings.HasSuffix(name, "_test.go") {
			p.tests[name] = parsed
		} else {
			p.source[name], p.name = parsed, parsed.Name.Name
		}
	}
	return t, nil
}

// dirs and names make the order of findings the same each time.
func (t *tree) dirs() []string  { return slices.Sorted(maps.Keys(t.packages)) }
func (t *tree) names() []string { return slices.Sorted(maps.Keys(t.files)) }

func imports(f *ast.File) []string {
	var all []string
	for _, spec := range f.Imports {
		name, err := strconv.Unquote(spec.Path.Value)
		if err == nil {
			all = append(all, name)
		}
	}
	return all
}

// ours gives a package's folder if it is one of the repository.
func ours(importPath string) (dir string, ok bool) {
	if rest, ok := strings.CutPrefix(importPath, gozkModule); ok {
		return "gozk" + rest, true
	}
	return strings.CutPrefix(importPath, module+"/")
}

func matches(pattern, name string) bool {
	if pattern == anything {
		return true
	}
	if below, ok := strings.CutSuffix(pattern, "/..."); ok {
		return name == below || strings.HasPrefix(name, below+"/")
	}
	return name == pattern
}

func anyMatches(patterns []string, name string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return matches(p, name) })
}

func (f file) lines() int { return bytes.Count(f.data, []byte("\n")) }

// findings collects what a rule has against a tree.
type findings []string

func (f *findings) add(where, format string, args ...any) {
	*f = append(*f, where+": "+fmt.Sprintf(format, args...))
}
