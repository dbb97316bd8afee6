package main

import (
	"bytes"
	"fmt"
	"html"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

func init() { commands["requests"] = cmdRequests }

// requests README PICTURE runs each curl of the README's shell blocks against the
// script's server, and compares the answers with those in the picture of a terminal.
// With -update the picture gets the new answers, and keeps what is above them.
func cmdRequests(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) == 2, "requests README PICTURE")
	host := strings.NewReplacer("localhost:8080", strings.TrimPrefix(ts.Getenv("API"), "http://"))
	requests := shellLines(ts.ReadFile(args[0]), "curl ")
	if len(requests) == 0 {
		ts.Fatalf("%s has no requests", args[0])
	}
	var answers []string
	for _, line := range requests {
		cmd := exec.Command("sh", "-c", host.Replace(line))
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil || len(out) == 0 {
			ts.Fatalf("%s: %v\n%s%s", line, err, out, &stderr)
		}
		answers = append(answers, prompt+line)
		answers = append(answers, terminalRows(string(out))...)
	}
	shown := terminalText(ts.ReadFile(args[1]))
	first := slices.IndexFunc(shown, func(line string) bool { return strings.HasPrefix(line, prompt+"curl ") })
	if first < 0 {
		first = len(shown)
	}
	if *update {
		ts.Check(os.WriteFile(args[1], terminalPicture(append(shown[:first:first], answers...)), 0o666))
		return
	}
	// The rest is the same whenever and wherever the sample data are served.
	differs := regexp.MustCompile(`(?m)^(Age|Date|X-Request-Id|X-Zxid): .*`)
	got := differs.ReplaceAllString(strings.Join(answers, "\n"), "$1:")
	want := differs.ReplaceAllString(strings.Join(shown[first:], "\n"), "$1:")
	if got != want {
		ts.Fatalf("%s shows:\n%s\nbut the answers are:\n%s\nrun go test ./cmd/magellan -run TestScriptZooKeeper/readme -update", args[1], want, got)
	}
}

// shellLines returns the lines of a document's shell blocks that begin with prefix.
func shellLines(document, prefix string) (found []string) {
	shell := false
	for line := range strings.Lines(document) {
		switch line = strings.TrimSpace(line); {
		case strings.HasPrefix(line, "```"):
			shell = line == "```sh"
		case shell && strings.HasPrefix(line, prefix):
			found = append(found, line)
		}
	}
	return found
}

const (
	prompt  = "$ "
	columns = 100
	maxRows = 12 // of one answer; a longer one is cut after the third
)

// terminalRows is output as a terminal shows it: long lines are wrapped. A long answer is
// cut, and ends with an ellipsis.
func terminalRows(output string) (rows []string) {
	for line := range strings.Lines(output) {
		line = strings.TrimRight(line, "\r\n")
		for len(line) > columns {
			rows = append(rows, line[:columns])
			line = line[columns:]
		}
		rows = append(rows, line)
	}
	if len(rows) > maxRows {
		rows = append(rows[:3], "…")
	}
	return rows
}

// terminalPicture draws rows of text as a terminal, in SVG. Each row has the width
// that its number of columns gives it, whatever font there is.
func terminalPicture(rows []string) []byte {
	const width, height, margin = 7.8, 17, 16 // of a column and of a row, in pixels
	var b bytes.Buffer
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%.0[1]f" height="%[2]d" viewBox="0 0 %.0[1]f %[2]d">`+"\n",
		columns*width+2*margin, len(rows)*height+2*margin)
	b.WriteString(`<rect width="100%" height="100%" rx="8" fill="#1e1e2e"/>` + "\n")
	b.WriteString(`<g font-family="ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono', monospace" font-size="13" fill="#bac2de" xml:space="preserve">` + "\n")
	for i, row := range rows {
		color := ""
		if strings.HasPrefix(row, prompt) {
			color = ` fill="#a6e3a1"`
		}
		fmt.Fprintf(&b, `<text x="%d" y="%d" textLength="%.1f" lengthAdjust="spacingAndGlyphs"%s>%s</text>`+"\n",
			margin, margin+(i+1)*height-4, float64(len([]rune(row)))*width, color, html.EscapeString(row))
	}
	b.WriteString("</g>\n</svg>\n")
	return b.Bytes()
}

// terminalText returns the rows of terminalPicture.
func terminalText(picture string) (rows []string) {
	for _, match := range regexp.MustCompile(`<text[^>]*>(.*)</text>`).FindAllStringSubmatch(picture, -1) {
		rows = append(rows, html.UnescapeString(match[1]))
	}
	return rows
}

// TestTerminalPicture draws what an SVG would take for its own.
func TestTerminalPicture(t *testing.T) {
	rows := append([]string{prompt + `echo '<text>&amp;</text>'`, ""}, terminalRows("<text>&amp;</text>\r\n"+strings.Repeat("x", columns+1)+"\n")...)
	want := []string{rows[0], "", "<text>&amp;</text>", strings.Repeat("x", columns), "x"}
	if got := terminalText(string(terminalPicture(rows))); !slices.Equal(got, want) {
		t.Errorf("drew %q, want %q", got, want)
	}
}
