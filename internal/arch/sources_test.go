package arch

import (
	"bytes"
	"go/ast"
	"path"
	"slices"
	"strings"
)

// checkDocs: a package explains itself in its doc.go, a program in one place.
func checkDocs(t *tree) (found findings) {
	for _, dir := range t.dirs() {
		p := t.packages[dir]
		if len(p.source) == 0 {
			continue // tests of something else
		}
		var documented []string
		for name, f := range p.source {
			if f.Doc != nil && len(strings.Fields(f.Doc.Text())) >= 10 {
				documented = append(documented, name)
			}
		}
		switch {
		case len(documented) == 0:
			found.add(dir, "no package comment: say in doc.go what it is for and what it is not")
		case len(documented) > 1:
			slices.Sort(documented)
			found.add(dir, "more than one package comment, in %s", strings.Join(documented, ", "))
		case p.name == "main":
		case path.Base(documented[0]) != "doc.go":
			found.add(documented[0], "the package comment belongs into doc.go")
		case !strings.HasPrefix(p.source[documented[0]].Doc.Text(), "Package "+p.name+" "):
			found.add(documented[0], "the package comment begins with %q", "Package "+p.name)
		}
	}
	return found
}

// checkManners: what no library of ours does.
func checkManners(t *tree) (found findings) {
	for _, dir := range t.dirs() {
		p := t.packages[dir]
		for name, f := range p.source {
			if n := t.files[name].lines(); n > maxLines {
				found.add(name, "%d lines: a file is one idea, of at most %d", n, maxLines)
			}
			ast.Inspect(f, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.SelectorExpr:
					if x, ok := n.X.(*ast.Ident); ok && p.name != "main" && x.Name == "os" && (n.Sel.Name == "Stderr" || n.Sel.Name == "Stdout") && !matches("cmd/...", dir) && mayWrite[name] == "" {
						found.add(t.fset.Position(n.Pos()).String(), "a library does not write to os.%s: return an error, or use the Config's Logger", n.Sel.Name)
					}
				case *ast.KeyValueExpr:
					if key, ok := n.Key.(*ast.Ident); ok && key.Name == "Pdeathsig" && dir != "internal/childproc" {
						found.add(t.fset.Position(n.Pos()).String(), "the kernel sends Pdeathsig when a thread ends: internal/childproc keeps that thread")
					}
				case *ast.CallExpr:
					if comparesErrorText(n) {
						found.add(t.fset.Position(n.Pos()).String(), "no error is told by its text: use errors.Is or errors.As")
					}
				}
				return true
			})
		}
	}
	return found
}

// comparesErrorText recognizes strings.Contains(err.Error(), ...) and its like.
func comparesErrorText(call *ast.CallExpr) bool {
	fun, ok := call.Fun.(*ast.SelectorExpr)
	if !ok || len(call.Args) != 2 || !slices.Contains([]string{"Contains", "HasPrefix", "HasSuffix", "EqualFold"}, fun.Sel.Name) {
		return false
	}
	if x, ok := fun.X.(*ast.Ident); !ok || x.Name != "strings" {
		return false
	}
	arg, ok := call.Args[0].(*ast.CallExpr)
	if !ok || len(arg.Args) != 0 {
		return false
	}
	method, ok := arg.Fun.(*ast.SelectorExpr)
	return ok && method.Sel.Name == "Error"
}

func isScript(name string) bool { return path.Ext(name) == ".sh" || name == ".ci/run" }

// checkScripts: a script stops at its first error, runs anywhere and can be run.
func checkScripts(t *tree) (found findings) {
	for _, name := range t.names() {
		if !isScript(name) {
			continue
		}
		f := t.files[name]
		if !bytes.HasPrefix(f.data, []byte("#!/usr/bin/env bash\n")) {
			found.add(name, "begins with #!/usr/bin/env bash")
		}
		if !bytes.Contains(f.data, []byte("\nset -euo pipefail\n")) {
			found.add(name, "needs set -euo pipefail: it would go on after an error")
		}
		if f.mode&0o111 == 0 {
			found.add(name, "is not executable: chmod +x")
		}
	}
	return found
}

// checkPaths: nothing in the repository names the machine it was written on.
func checkPaths(t *tree, private []string) (found findings) {
	for _, name := range t.names() {
		for _, dir := range private {
			for rest := t.files[name].data; ; {
				i := bytes.Index(rest, []byte(dir))
				if i < 0 {
					break
				}
				rest = rest[i+len(dir):]
				if len(rest) > 0 && (rest[0] == '_' || rest[0] == '-' || rest[0] >= '0' && rest[0] <= '9' || rest[0]|0x20 >= 'a' && rest[0]|0x20 <= 'z') {
					continue // a longer name that only begins like it
				}
				found.add(name, "names %s, a folder of one machine", dir)
				break
			}
		}
	}
	return found
}
