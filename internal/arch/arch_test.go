package arch

import (
	"go/build"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// The rules, by name; a violation made up for each is in TestRulesFind.
var rules = map[string]func(*tree) findings{
	"arrows":  checkArrows,
	"fences":  checkFences,
	"docs":    checkDocs,
	"manners": checkManners,
	"modules": checkModules,
	"client":  checkLinksOfClient,
	"scripts": checkScripts,
	"words":   checkWords,
	"links":   checkLinks,
	"paths":   func(t *tree) findings { return checkPaths(t, privateFolders()) },
}

func TestArchitecture(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	tree, err := readTree(os.DirFS(root))
	if err != nil {
		t.Fatal(err)
	}
	// If this package and its own scripts are not seen, nothing is.
	if tree.packages["internal/arch"] == nil || tree.files["Makefile"].data == nil || tree.files["test/go.mod"].data == nil || tree.files[".ci/run"].data == nil {
		t.Fatalf("%s is not the repository", root)
	}
	for name, rule := range rules {
		t.Run(name, func(t *testing.T) {
			for _, finding := range rule(tree) {
				t.Error(finding)
			}
		})
	}
}

// privateFolders are those of whoever runs the tests. A folder that has a short
// or a common name, as in a container, may well stand in a file for good reason.
func privateFolders() []string {
	var all []string
	if root, err := filepath.Abs("../.."); err == nil {
		all = append(all, root)
	}
	if home, err := os.UserHomeDir(); err == nil {
		all = append(all, home)
	}
	all = append(all, filepath.Join(build.Default.GOPATH, "pkg", "mod"))
	return slices.DeleteFunc(all, func(dir string) bool {
		return strings.Count(dir, "/") < 2 || dir == "/go/pkg/mod"
	})
}

func TestRulesFind(t *testing.T) {
	doc := func(name string) string {
		return "// Package " + name + " does one thing and says here in ten words which.\npackage " + name + "\n"
	}
	importing := func(name, imported string) map[string]string {
		return map[string]string{
			"internal/" + name + "/doc.go": doc(name),
			"internal/" + name + "/x.go":   "package " + name + "\nimport _ " + `"` + imported + `"` + "\n",
		}
	}
	for _, c := range []struct {
		name  string
		files map[string]string
		want  string // part of the one finding; none if empty
	}{
		{"allowed", importing("cache", "magellan/internal/zk"), ""},
		{"arrow backwards", importing("zk", "magellan/internal/cache"), "internal/zk may not import internal/cache"},
		{"HTTP around the domain", importing("httpapi", "magellan/internal/cache"), "internal/httpapi may not import internal/cache"},
		{"package nobody thought of", importing("misc", "fmt"), "no arrow"},
		{"name that only begins like an allowed one", importing("cache", "magellan/internal/zkextra"), "may not import internal/zkextra"},
		{"public package on a private one", map[string]string{
			"cgo/jemalloc/doc.go": doc("jemalloc") + `import _ "magellan/internal/zk"` + "\n",
		}, "cgo/jemalloc may not import internal/zk"},
		{"public test on a private package", map[string]string{
			"cgo/jemalloc/doc.go":    doc("jemalloc"),
			"cgo/jemalloc/a_test.go": "package jemalloc\n" + `import _ "magellan/internal/zk/zktest"` + "\n",
		}, "a test of a public package may not import internal/zk/zktest"},
		{"private test on anything", map[string]string{
			"internal/zk/doc.go":    doc("zk"),
			"internal/zk/a_test.go": "package zk\n" + `import _ "magellan/internal/cache"` + "\n",
		}, ""},
		{"whatever the build tag", map[string]string{
			"internal/zk/doc.go": doc("zk"),
			"internal/zk/x.go":   "//go:build fixture\n\npackage zk\n" + `import _ "magellan/internal/admin"` + "\n",
		}, "internal/zk may not import internal/admin"},
		{"web framework in the domain", importing("discovery", "github.com/labstack/echo/v4"), "the web framework"},
		{"cgo in the wrong place", importing("cache", "C"), `internal/cache may not import "C"`},
		{"C in the wrong place", map[string]string{"internal/cache/x.c": "int x;\n"}, "no C in internal/cache"},
		{"C as the input of a test", map[string]string{"internal/cache/testdata/x.c": "int x;\n"}, ""},
		{"test framework in a program", importing("cache", "testing"), "does not link its tests"},
		{"no package comment", map[string]string{"internal/zk/x.go": "package zk\n"}, "no package comment"},
		{"two package comments", map[string]string{"internal/zk/doc.go": doc("zk"), "internal/zk/x.go": doc("zk")}, "more than one package comment"},
		{"package comment elsewhere", map[string]string{"internal/zk/x.go": doc("zk")}, "belongs into doc.go"},
		{"program with a comment", map[string]string{"cmd/x/main.go": "// Command x says in at least ten words what it is good for.\npackage main\n"}, ""},
		{"library on stderr", map[string]string{
			"internal/zk/doc.go": doc("zk") + "import \"os\"\nvar w = os.Stderr\n",
		}, "does not write to os.Stderr"},
		{"error by its text", map[string]string{
			"internal/zk/doc.go": doc("zk") + "import \"strings\"\nfunc f(err error) bool { return strings.Contains(err.Error(), \"gone\") }\n",
		}, "no error is told by its text"},
		{"child that ends with a thread", map[string]string{
			"internal/zk/doc.go": doc("zk") + "import \"syscall\"\nvar a = syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}\n",
		}, "internal/childproc keeps that thread"},
		{"a word of a domain", map[string]string{"internal/cache/doc.go": doc("cache") + "// A Shop is one of many.\n"}, "this package knows no domain"},
		{"long file", map[string]string{"internal/zk/doc.go": doc("zk") + strings.Repeat("\n", maxLines)}, "a file is one idea"},
		{"another version of a module", map[string]string{
			"go.mod":      "module magellan\n\ngo 1.26.0\n\nrequire (\n\ta.example/b v1.2.3\n\ta.example/c v1.0.0 // indirect\n)\n",
			"test/go.mod": "module magellan/test\n\ngo 1.26.0\n\nrequire a.example/d v1.0.0\n\nrequire (\n\ta.example/b v1.2.3\n\ta.example/c v1.0.1 // indirect\n)\n",
		}, "a.example/c v1.0.1, but go.mod has v1.0.0"},
		{"the drop-in's own client", map[string]string{
			"gozk/doc.go": doc("zookeeper") + `import _ "github.com/Shopify/gozk/internal/zk"` + "\n",
		}, ""},
		{"the drop-in on the product", map[string]string{
			"gozk/doc.go": doc("zookeeper") + `import _ "magellan/internal/discovery"` + "\n",
		}, "gozk may not import internal/discovery"},
		{"a file that the drop-in lacks", map[string]string{
			"gozk/doc.go": doc("zookeeper"), "internal/zk/doc.go": doc("zk"), "internal/zk/x_test.go": "package zk\n",
		}, "ln -sf ../../../internal/zk/doc.go gozk/internal/zk/doc.go"},
		{"a link that leads elsewhere", map[string]string{
			"gozk/doc.go": doc("zookeeper"), "internal/zk/doc.go": doc("zk"), "gozk/internal/zk/doc.go": "-> ../../../internal/zk/other.go",
		}, "lacks a file of the client"},
		{"a link to nothing", map[string]string{
			"gozk/doc.go": doc("zookeeper"), "gozk/internal/zk/gone.go": "-> ../../../internal/zk/gone.go",
		}, "a link to no file"},
		{"another version of Go", map[string]string{"go.mod": "go 1.26.0\n", "test/go.mod": "go 1.27.0\n"}, "go 1.27.0, but go.mod has 1.26.0"},
		{"a drop-in with baggage", map[string]string{"gozk/go.mod": "go 1.24.0\n\nrequire a.example/b v1.2.3\n"}, "it requires a.example/b"},
		{"links that lead somewhere", map[string]string{
			"a.md":      "[b](docs/b.md) [b](docs/b.md#the-heads-of-b--c) [docs](docs) [up](#up) [far](https://example.org/a.md)\n# Up\n",
			"docs/b.md": "## The `heads` of b + c\n![a](../a.md)\n",
		}, ""},
		{"link to no file", map[string]string{"docs/b.md": "[a](../docs/a.md)\n"}, "links to ../docs/a.md, which does not exist"},
		{"link to no heading", map[string]string{"b.md": "# One\n```sh\n# Two\n```\n[two](#two)\n"}, "b.md has no such heading"},
		{"script that goes on", map[string]string{"build/x.sh": "#!/usr/bin/env bash\ntrue\n"}, "set -euo pipefail"},
		{"script of one system", map[string]string{"build/x.sh": "#!/bin/bash\nset -euo pipefail\n"}, "#!/usr/bin/env bash"},
		{"script not executable", map[string]string{"build/plain.sh": "#!/usr/bin/env bash\nset -euo pipefail\n"}, "not executable"},
	} {
		t.Run(c.name, func(t *testing.T) {
			files := fstest.MapFS{}
			for name, text := range c.files {
				mode := fs.FileMode(0o755)
				if strings.HasSuffix(name, "plain.sh") {
					mode = 0o644
				}
				if target, ok := strings.CutPrefix(text, "-> "); ok {
					text, mode = target, fs.ModeSymlink
				}
				files[name] = &fstest.MapFile{Data: []byte(text), Mode: mode}
			}
			tree, err := readTree(files)
			if err != nil {
				t.Fatal(err)
			}
			var found findings
			for _, rule := range rules {
				found = append(found, rule(tree)...)
			}
			switch {
			case c.want == "" && len(found) > 0:
				t.Errorf("found %q", found)
			case c.want != "" && (len(found) != 1 || !strings.Contains(found[0], c.want)):
				t.Errorf("found %q, want one that says %q", found, c.want)
			}
		})
	}
}

func TestPathsFind(t *testing.T) {
	tree, err := readTree(fstest.MapFS{
		"bad.md":    {Data: []byte("see /somewhere/private/x\n")},
		"end.md":    {Data: []byte("/somewhere/private")},
		"longer.md": {Data: []byte("/somewhere/privateer and /somewhere/private2/x\n")},
		"both.md":   {Data: []byte("/somewhere/privateer and then /somewhere/private/\n")},
	})
	if err != nil {
		t.Fatal(err)
	}
	found := checkPaths(tree, []string{"/somewhere/private"})
	if len(found) != 3 || strings.Contains(strings.Join(found, "\n"), "longer.md") {
		t.Errorf("found %q", found)
	}
}
