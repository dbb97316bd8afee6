package arch

import (
	"maps"
	"regexp"
	"slices"
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

// checkModules: the second module builds magellan's packages from the same versions
// as magellan itself. Otherwise it would test and measure another program.
func checkModules(t *tree) (found findings) {
	const second = "test/go.mod"
	product, tests := versions(t.files["go.mod"].data), versions(t.files[second].data)
	for _, name := range slices.Sorted(maps.Keys(tests)) {
		if want, shared := product[name]; shared && tests[name] != want {
			found.add(second, "%s %s, but go.mod has %s: use the same version in both", name, tests[name], want)
		}
	}
	return found
}
