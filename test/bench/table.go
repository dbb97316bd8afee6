package main

import (
	"fmt"
	"slices"
	"strings"
)

// table is a Markdown table; all columns but the first are numbers.
type table struct {
	head []string
	rows [][]string
}

func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

func (t *table) String() string {
	var b strings.Builder
	line := func(cells []string) { fmt.Fprintf(&b, "| %s |\n", strings.Join(cells, " | ")) }
	line(t.head)
	rule := slices.Repeat([]string{"---:"}, len(t.head))
	rule[0] = "---"
	line(rule)
	for _, row := range t.rows {
		line(row)
	}
	return b.String()
}

// goal is a number that was aimed at.
type goal struct {
	what     string
	got      float64
	wanted   float64
	atMost   bool // or else at least
	decimals int
}

func (g goal) met() bool {
	if g.atMost {
		return g.got <= g.wanted
	}
	return g.got >= g.wanted
}

func (g goal) cells() []string {
	wanted, met := "at least ", "**not met**"
	if g.atMost {
		wanted = "at most "
	}
	if g.met() {
		met = "met"
	}
	return []string{g.what, wanted + number(g.wanted, g.decimals), number(g.got, g.decimals), met}
}

// number writes a number with commas between the thousands.
func number(v float64, decimals int) string {
	s := fmt.Sprintf("%.*f", decimals, v)
	whole, fraction, _ := strings.Cut(s, ".")
	for i := len(whole) - 3; i > 0 && whole[i-1] != '-'; i -= 3 {
		whole = whole[:i] + "," + whole[i:]
	}
	if fraction != "" {
		whole += "." + fraction
	}
	return whole
}

func mebibytes(n float64) string { return number(n/(1<<20), 0) }

// median returns the middle of the values, of which there must be one.
func median(values []float64) float64 {
	v := slices.Sorted(slices.Values(values))
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}

// ratio returns the median of the ratios of each round: what the machine does
// meanwhile hits both sides of one round alike.
func ratio(a, b []float64) float64 {
	r := make([]float64, len(a))
	for i := range r {
		r[i] = a[i] / b[i]
	}
	return median(r)
}

// column takes one number out of each result.
func column[T any](results []T, f func(T) float64) []float64 {
	v := make([]float64, len(results))
	for i, r := range results {
		v[i] = f(r)
	}
	return v
}
