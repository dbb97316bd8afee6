package arch

import (
	"path"
	"regexp"
	"strings"
)

// link matches the target of a Markdown link or picture.
var link = regexp.MustCompile(`\]\(([^()\s]+)\)`)

// checkLinks: a link of a document to a file or folder of the repository, or to a
// heading of a document, leads somewhere.
func checkLinks(t *tree) (found findings) {
	folders := map[string]bool{}
	for name := range t.files {
		for dir := path.Dir(name); !folders[dir]; dir = path.Dir(dir) {
			folders[dir] = true
		}
	}
	for _, name := range t.names() {
		if path.Ext(name) != ".md" {
			continue
		}
		for _, match := range link.FindAllStringSubmatch(string(t.files[name].data), -1) {
			target, heading, _ := strings.Cut(match[1], "#")
			if strings.Contains(target, ":") {
				continue // on another host
			}
			file := name
			if target != "" {
				file = path.Join(path.Dir(name), target)
			}
			f, ok := t.files[file]
			switch {
			case !ok && !folders[file]:
				found.add(name, "links to %s, which does not exist", match[1])
			case heading != "" && !anchors(string(f.data))[heading]:
				found.add(name, "links to %s: %s has no such heading", match[1], file)
			}
		}
	}
	return found
}

// anchors are the names by which the headings of a document are linked to, as
// GitHub makes them.
func anchors(document string) map[string]bool {
	all := map[string]bool{}
	code := false
	for line := range strings.Lines(document) {
		if strings.HasPrefix(line, "```") {
			code = !code
		}
		text, ok := strings.CutPrefix(strings.TrimLeft(line, "#"), " ")
		if code || !ok || !strings.HasPrefix(line, "#") {
			continue
		}
		dropped := regexp.MustCompile(`[^\p{L}\p{N}_ -]`).ReplaceAllString(strings.ToLower(strings.TrimSpace(text)), "")
		all[strings.ReplaceAll(dropped, " ", "-")] = true
	}
	return all
}
