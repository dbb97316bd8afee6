package arch

import (
	"regexp"
	"slices"
	"strings"
)

// domainFree are packages that serve every domain, so that none of their files, tests
// aside, has a word of one.
var domainFree = []string{"internal/cache/...", "internal/discovery/...", "internal/zk/..."}

// domainWords are words of the domain of internal/shops.
var domainWords = regexp.MustCompile(`(?i)shop|datacenter|region|citizen|blocklist|topolog|placement`)

// checkWords: who reads such a package, or writes it, need not know what it is used for.
func checkWords(t *tree) (found findings) {
	var names []string
	for name := range t.files {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		dir := name[:max(0, strings.LastIndexByte(name, '/'))]
		if !anyMatches(domainFree, dir) || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			continue
		}
		for i, line := range strings.Split(string(t.files[name].data), "\n") {
			if word := domainWords.FindString(line); word != "" {
				found.add(name, "line %d has %q: this package knows no domain", i+1, word)
			}
		}
	}
	return found
}
