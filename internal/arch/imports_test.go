package arch

import "path"

func checkArrows(t *tree) (found findings) {
	for _, dir := range t.dirs() {
		p := t.packages[dir]
		rule := arrowFrom(dir)
		if rule == nil {
			found.add(dir, "no arrow in rules_test.go says what this package may import: add one, with its reason")
			continue
		}
		for name, f := range p.source {
			for _, imported := range imports(f) {
				if to, ok := ours(imported); ok && !anyMatches(rule.to, to) {
					found.add(name, "%s may not import %s: %s", dir, to, rule.why)
				}
			}
		}
		if anyMatches(publicTrees, dir) {
			for name, f := range p.tests {
				for _, imported := range imports(f) {
					if to, ok := ours(imported); ok && matches(privateTree, to) {
						found.add(name, "a test of a public package may not import %s: other programs take %s as it is", to, dir)
					}
				}
			}
		}
	}
	return found
}

func arrowFrom(dir string) *arrow {
	for i := range arrows {
		if matches(arrows[i].from, dir) {
			return &arrows[i]
		}
	}
	return nil
}

func checkFences(t *tree) (found findings) {
	for _, dir := range t.dirs() {
		for name, f := range t.packages[dir].source {
			for _, imported := range imports(f) {
				for _, fence := range append(fences, cAllowed...) {
					if matches(fence.imports, imported) && !anyMatches(fence.only, dir) {
						found.add(name, "%s may not import %q: %s", dir, imported, fence.why)
					}
				}
			}
		}
	}
	for _, name := range t.names() {
		switch path.Ext(name) {
		case ".c", ".h", ".S", ".cc", ".cpp":
			if dir := path.Dir(name); path.Base(dir) != "testdata" && !anyMatches(cAllowed[0].only, dir) {
				found.add(name, "no C in %s: %s", dir, cAllowed[0].why)
			}
		}
	}
	return found
}
