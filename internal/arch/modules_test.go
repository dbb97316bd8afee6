package arch

import (
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
)

// A line of a go.mod that says which version of a module is used, or of Go.
var versionLine = regexp.MustCompile(`(?m)^(?:\t|require |)(\S+) (v\S+|[0-9]\S+)`)

func versions(gomod []byte) map[string]string {
	all := map[string]string{}
	for _, m := range versionLine.FindAllSubmatch(gomod, -1) {
		all[string(m[1])] = string(m[2])
	}
	return all
}

// checkLinksOfClient: the module gozk has each file of the ZooKeeper client, and nothing
// else there.
func checkLinksOfClient(t *tree) (found findings) {
	want := map[string]string{}
	for name := range t.files {
		dir, file := path.Split(name)
		if dir == clientFiles+"/" && slices.Contains([]string{".go", ".c", ".h"}, path.Ext(file)) && !strings.HasSuffix(file, "_test.go") {
			want[clientLinks+"/"+file] = "../../../" + name
		}
	}
	if len(t.dirsBelow("gozk")) == 0 {
		return nil
	}
	for name, target := range want {
		if t.links[name] != target {
			found.add(name, "the module gozk lacks a file of the client: ln -sf %s %s", target, name)
		}
	}
	for name := range t.links {
		if strings.HasPrefix(name, clientLinks+"/") && want[name] == "" {
			found.add(name, "a link to no file of the client: git rm %s", name)
		}
	}
	slices.Sort(found)
	return found
}

// dirsBelow returns the folders of packages at or below a folder.
func (t *tree) dirsBelow(dir string) []string {
	return slices.DeleteFunc(t.dirs(), func(d string) bool { return !matches(dir+"/...", d) })
}

// checkModules: the module of the tests builds magellan's packages from the same
// versions as magellan itself. Otherwise it would test and measure another program. The
// module gozk requires nothing, so that programs get nothing with it.
func checkModules(t *tree) (found findings) {
	const second, third = "test/go.mod", "gozk/go.mod"
	product, tests := versions(t.files["go.mod"].data), versions(t.files[second].data)
	for _, name := range slices.Sorted(maps.Keys(tests)) {
		if want, shared := product[name]; shared && tests[name] != want {
			found.add(second, "%s %s, but go.mod has %s: use the same version in both", name, tests[name], want)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(versions(t.files[third].data))) {
		if name != "go" {
			found.add(third, "it requires %s: programs that replace gozk by it would get that as well", name)
		}
	}
	return found
}
