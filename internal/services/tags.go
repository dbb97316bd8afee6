package services

import (
	"fmt"
	"slices"
	"strings"
)

// tagsKey is the item of an instance's metadata that has its tags. None of the layouts has tags of its
// own, and this is what those who want some write: ["blue","eu"], or blue,eu.
const tagsKey = "tags"

// maxTags is how many tags an instance can have at most.
const maxTags = 1000

// readTags returns the tags in an instance's metadata, each once.
func readTags(metadata []Pair) (tags []string, err error) {
	n := slices.IndexFunc(metadata, func(p Pair) bool { return p.Key == tagsKey })
	if n < 0 {
		return nil, nil
	}
	add := func(tag string) {
		if tag = strings.TrimSpace(tag); tag != "" && !slices.Contains(tags, tag) {
			tags = append(tags, tag)
		}
	}
	text := metadata[n].Value
	if strings.Count(text, ",") > maxTags {
		return nil, fmt.Errorf("there are more than %d tags", maxTags)
	}
	if d, err := parseJSON(text); err == nil {
		defer d.free()
		if d.root().kind() == '[' {
			for e := d.root().elements(); e.more(); {
				if e.kind() == '"' {
					add(e.text())
				}
			}
			return exact(tags), nil
		}
	}
	for tag := range strings.SplitSeq(text, ",") {
		add(tag)
	}
	return exact(tags), nil
}
