package heapprof

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/google/pprof/profile"
)

// TopOptions configure a text report. The zero value is useful.
type TopOptions struct {
	// Type is the name of the sample type: alloc_objects, alloc_space,
	// inuse_objects or inuse_space. Default: the profile's own default.
	Type string

	// Rows is the largest number of rows. Default: 30. Below 0: no limit.
	Rows int

	// Cumulative sorts by what a function and the functions that it called hold.
	Cumulative bool
}

// row is a function's line in the table.
type row struct {
	name, file string
	flat, cum  int64
}

// WriteTop writes the functions of a profile as a table. Those that hold the most come
// first. flat is what a function allocated itself, cum includes the functions that it
// called. Estimates are marked with ~. Percentages are of the sum of all values without
// their signs, as in pprof: in a difference, of what grew plus what shrank. WriteTop does
// not change the profile.
func WriteTop(w io.Writer, p *profile.Profile, opts TopOptions) error {
	p, index, err := prepare(p, opts.Type)
	if err != nil {
		return err
	}
	total, whole := sums(p, index)
	rows := make(map[functionKey]*row)
	for _, s := range p.Sample {
		v := s.Value[index]
		seen := make(map[*row]bool)
		for i, f := range sampleFrames(s) {
			key := functionKey{f.Function, f.File}
			r := rows[key]
			if r == nil {
				r = &row{name: f.Function, file: f.File}
				rows[key] = r
			}
			if i == 0 {
				r.flat += v
			}
			if !seen[r] {
				seen[r] = true
				r.cum += v
			}
		}
	}
	list := make([]*row, 0, len(rows))
	for _, r := range rows {
		if r.flat != 0 || r.cum != 0 {
			list = append(list, r)
		}
	}
	slices.SortFunc(list, func(a, b *row) int {
		byFlat, byCum := cmp.Compare(abs(b.flat), abs(a.flat)), cmp.Compare(abs(b.cum), abs(a.cum))
		if opts.Cumulative {
			byFlat, byCum = byCum, byFlat
		}
		return cmp.Or(byFlat, byCum, cmp.Compare(a.name, b.name), cmp.Compare(a.file, b.file))
	})
	unit, about := p.SampleType[index].Unit, about(p)
	out := bufio.NewWriter(w)
	fmt.Fprintf(out, "%s: %s%s in all\n", p.SampleType[index].Type, about, Amount(float64(total), unit))
	fmt.Fprintf(out, "%10s %6s %6s %10s %6s  %s\n", about+"flat", "flat%", "sum%", about+"cum", "cum%", "function")
	sayNothing(out, p, len(list))
	sum := int64(0)
	for i, r := range list {
		if i >= opts.rows() {
			fmt.Fprintf(out, "... and %d more functions\n", len(list)-i)
			break
		}
		sum += r.flat
		fmt.Fprintf(out, "%10s %s %s %10s %s  %s", Amount(float64(r.flat), unit), percent(r.flat, whole), percent(sum, whole),
			Amount(float64(r.cum), unit), percent(r.cum, whole), r.name)
		if r.file != "" {
			fmt.Fprintf(out, " (%s)", path.Base(r.file))
		}
		out.WriteByte('\n')
	}
	return out.Flush()
}

// WriteStacks writes whole stacks with files and lines. Those that hold the most come
// first, and those that hold nothing are left out. Estimates are marked with ~. WriteStacks
// does not change the profile.
func WriteStacks(w io.Writer, p *profile.Profile, opts TopOptions) error {
	p, index, err := prepare(p, opts.Type)
	if err != nil {
		return err
	}
	p.Sample = slices.DeleteFunc(p.Sample, func(s *profile.Sample) bool { return s.Value[index] == 0 })
	total, whole := sums(p, index)
	slices.SortStableFunc(p.Sample, func(a, b *profile.Sample) int { return cmp.Compare(abs(b.Value[index]), abs(a.Value[index])) })
	unit, about := p.SampleType[index].Unit, about(p)
	out := bufio.NewWriter(w)
	fmt.Fprintf(out, "%s: %s%s in all\n", p.SampleType[index].Type, about, Amount(float64(total), unit))
	sayNothing(out, p, len(p.Sample))
	for i, s := range p.Sample {
		if i >= opts.rows() {
			fmt.Fprintf(out, "\n... and %d more stacks\n", len(p.Sample)-i)
			break
		}
		fmt.Fprintf(out, "\n%s%s %s", about, Amount(float64(s.Value[index]), unit), strings.TrimLeft(percent(s.Value[index], whole), " "))
		for _, name := range s.Label["thread"] {
			fmt.Fprintf(out, " in %s", name)
		}
		out.WriteByte('\n')
		for _, f := range sampleFrames(s) {
			fmt.Fprintf(out, "    %s\n", f)
		}
	}
	return out.Flush()
}

// WriteCollapsed writes a line for each stack, "outermost;...;innermost N", which flame
// graph tools can read. Stacks with the same functions are added up. valueType is as in
// TopOptions.Type. WriteCollapsed does not change the profile.
func WriteCollapsed(w io.Writer, p *profile.Profile, valueType string) error {
	p, index, err := prepare(p, valueType)
	if err != nil {
		return err
	}
	sums := make(map[string]int64)
	for _, s := range p.Sample {
		frames := sampleFrames(s)
		names := make([]string, 0, len(frames)+1)
		for _, name := range s.Label["thread"] {
			names = append(names, collapsedName(name))
		}
		for _, f := range slices.Backward(frames) {
			names = append(names, collapsedName(f.Function))
		}
		sums[strings.Join(names, ";")] += s.Value[index]
	}
	lines := make([]string, 0, len(sums))
	for stack, v := range sums {
		if v != 0 {
			lines = append(lines, fmt.Sprintf("%s %d\n", stack, v))
		}
	}
	slices.Sort(lines)
	out := bufio.NewWriter(w)
	for _, line := range lines {
		out.WriteString(line)
	}
	return out.Flush()
}

// WriteGrowth writes stacks with their growth, in the given order, which may be that of
// Ranker.Ranking. If several stacks grow together, it writes what they have in common and,
// where they differ, the different ways. Addresses for which symbols has no frames are
// written as numbers. Estimates are marked with ~.
func WriteGrowth(w io.Writer, growth []Growth, symbols *Symbols) error {
	out := bufio.NewWriter(w)
	for i, g := range growth {
		if i > 0 {
			out.WriteByte('\n')
		}
		fmt.Fprintf(out, "%s: ~%s/h ± %s/h, ~%.0f objects/h, confidence %.4f (%.0f samples)\n", g.Verdict,
			Amount(g.BytesPerHour, "bytes"), Amount(g.BytesPerHourError, "bytes"), g.ObjectsPerHour, g.Confidence, g.Samples)
		fmt.Fprintf(out, "live: ~%s in ~%.0f objects; first seen %s, last seen %s\n", Amount(g.Bytes, "bytes"), g.Objects,
			g.FirstSeen.UTC().Format(time.RFC3339), g.LastSeen.UTC().Format(time.RFC3339))
		if len(g.Chain) == 0 {
			callers := symbols.Callers(g.PCs, g.Times)
			if len(callers) == 0 {
				callers = []Frame{{Function: noFrames}}
			}
			for _, f := range callers {
				fmt.Fprintf(out, "    %s\n", f)
			}
			continue
		}
		if cause := symbols.Link(g.Chain[g.Cause]); len(cause) > 0 {
			fmt.Fprintf(out, "by: %s, on %d stacks\n", cause[len(cause)-1], g.Stacks)
		}
		for _, l := range g.Chain {
			writeLink(out, l, symbols)
		}
	}
	return out.Flush()
}

func writeLink(out io.Writer, l Link, symbols *Symbols) {
	for _, f := range symbols.Link(l) {
		fmt.Fprintf(out, "    %s", f)
		if l.Lines > 1 {
			fmt.Fprintf(out, " (at %d places)", l.Lines)
		}
		fmt.Fprintln(out)
	}
	if l.PC != 0 {
		return
	}
	fmt.Fprintf(out, "    ... %d ways ...\n", l.Count)
	for _, way := range l.Ways {
		names := shorten(symbols.Callers(way.PCs, way.Times))
		if len(names) == 0 {
			names = []string{"(directly)"}
		}
		fmt.Fprintf(out, "    |%3.0f%%  %s\n", 100*way.Share, strings.Join(names, " < "))
	}
	if more := l.Count - len(l.Ways); more > 0 {
		fmt.Fprintf(out, "    |      and %d more\n", more)
	}
}

// shorten returns the frames of a way as text. If there are many, it returns only those at
// both ends.
func shorten(frames []Frame) []string {
	const ends = 4
	var names []string
	for i, f := range frames {
		switch {
		case i < ends || i >= len(frames)-ends:
			names = append(names, f.String())
		case i == ends:
			names = append(names, "...")
		}
	}
	return names
}

// collapsedName replaces the separator of frames in a name, so that no tool reads the name
// as two frames.
func collapsedName(name string) string { return strings.ReplaceAll(name, ";", ",") }

func (o TopOptions) rows() int {
	switch {
	case o.Rows == 0:
		return 30
	case o.Rows < 0:
		return int(^uint(0) >> 1)
	}
	return o.Rows
}

// NamePlaces gives each location without a name its place as a name: "lib.so+0x1234", with
// the offset in the file. It is for profiles that people look at now. Without such names
// pprof shows all these locations of a file as one, and asks the server from which it got
// the profile for their names. With them no tool looks up the real names later.
// NamePlaces changes p.
func NamePlaces(p *profile.Profile) {
	functions := make(map[string]*profile.Function)
	var last uint64
	for _, f := range p.Function {
		last = max(last, f.ID)
	}
	for _, l := range p.Location {
		if len(l.Line) > 0 {
			continue
		}
		name := placeName(l)
		f := functions[name]
		if f == nil {
			last++
			f = &profile.Function{ID: last, Name: name, SystemName: name}
			functions[name] = f
			p.Function = append(p.Function, f)
		}
		l.Line = []profile.Line{{Function: f}}
	}
}

// placeName returns the file of a location and its address in the file, as the linker and
// addr2line count it. The mapping does not have that address, so it is derived. A program
// that is not position-independent is mapped at the addresses for which it was linked,
// below 4 GiB, where no other file is mapped. All other files are assumed to be linked so
// that an address is the offset in the file, as GNU ld does it.
func placeName(l *profile.Location) string {
	const highestFixed = 1 << 32
	m := l.Mapping
	if m == nil || m.File == "" || m.File == unmappedFile {
		return offsetName("", l.Address)
	}
	file := strings.TrimSuffix(m.File, deletedSuffix)
	if m.Start < highestFixed {
		return offsetName(file, l.Address)
	}
	return offsetName(file, l.Address-m.Start+m.Offset)
}

// prepare copies a profile, removes its DropFrames, names locations by their places if they
// have no name, and returns the index of the sample type.
func prepare(p *profile.Profile, valueType string) (*profile.Profile, int, error) {
	p = p.Copy()
	if err := p.RemoveUninteresting(); err != nil {
		return nil, 0, fmt.Errorf("hide the frames that the profile says to: %w", err)
	}
	NamePlaces(p)
	index, err := p.SampleIndexByName(valueType)
	return p, index, err
}

// about returns the mark that is written before estimates. All values of a profile are
// estimates, unless each allocation was sampled.
func about(p *profile.Profile) string {
	if p.Period > 1 {
		return "~"
	}
	return ""
}

// sayNothing writes the reason if a report has no rows.
func sayNothing(out io.Writer, p *profile.Profile, rows int) {
	if rows == 0 {
		fmt.Fprintf(out, "no samples: one allocation in each %s is sampled\n", Amount(float64(p.Period), "bytes"))
	}
}

// sums returns the sum of the values of all samples, and their sum without signs.
func sums(p *profile.Profile, index int) (total, whole int64) {
	for _, s := range p.Sample {
		total += s.Value[index]
		whole += abs(s.Value[index])
	}
	return total, whole
}

// sampleFrames returns the frames of a sample, the innermost first.
func sampleFrames(s *profile.Sample) []Frame {
	var frames []Frame
	for _, l := range s.Location {
		for _, line := range l.Line {
			frames = append(frames, Frame{Function: line.Function.Name, File: line.Function.Filename, Line: int(line.Line)})
		}
	}
	if len(frames) == 0 { // only in profiles of other tools, see converter.noFrames
		return []Frame{{Function: noFrames}}
	}
	return frames
}

// String returns "function file.c:12", or only the function if the file is not known. For a
// recursive function it adds the number of calls in a row.
func (f Frame) String() string {
	text := f.Function
	if f.File != "" {
		text = fmt.Sprintf("%s %s:%d", f.Function, path.Base(f.File), f.Line)
	}
	if f.Times > 1 {
		text += fmt.Sprintf(" (up to %d times)", f.Times)
	}
	return text
}

// Amount returns a value for people: "1.5MiB" for bytes, "12" for other units.
func Amount(v float64, unit string) string {
	if unit != "bytes" {
		return fmt.Sprintf("%.0f", v)
	}
	size := v
	for _, u := range []string{"B", "KiB", "MiB", "GiB"} {
		if size < 1024 && size > -1024 {
			if u == "B" {
				return fmt.Sprintf("%.0fB", size)
			}
			return fmt.Sprintf("%.1f%s", size, u)
		}
		size /= 1024
	}
	return fmt.Sprintf("%.1fTiB", size)
}

func percent(v, total int64) string {
	if total == 0 {
		return fmt.Sprintf("%6s", "-")
	}
	return fmt.Sprintf("%5.1f%%", 100*float64(v)/float64(total))
}

func abs(v int64) int64 {
	if v < 0 {
		return -v
	}
	return v
}

// WriteText writes a whole profile for people: its comments, the functions that hold most,
// and the stacks that do, each in its default form.
func WriteText(w io.Writer, p *profile.Profile) error {
	for _, c := range p.Comments {
		fmt.Fprintf(w, "# %s\n", c)
	}
	fmt.Fprintln(w)
	if err := WriteTop(w, p, TopOptions{}); err != nil {
		return err
	}
	fmt.Fprintln(w)
	return WriteStacks(w, p, TopOptions{})
}
