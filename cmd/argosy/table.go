package main

import (
	"fmt"
	"io"
	"strings"
	"unicode"
)

// column is a column of a table. What is whole is never cut, so that it can be
// copied.
type column struct {
	title string
	whole bool
}

// cell is a text, and how a terminal shows it.
type cell struct{ text, style string }

// text returns a cell without a style.
func text(t string) cell { return cell{t, plain} }

// narrowest is what a column that is cut keeps.
const narrowest = 8

// table prints aligned columns with two spaces between them. An empty cell is
// a dash, so that each line has as many words as its columns at least.
func (s *screen) table(columns []column, rows [][]cell) error {
	widths := make([]int, len(columns))
	for i, c := range columns {
		widths[i] = len(c.title)
	}
	for _, row := range rows {
		for i := range row {
			row[i].text = escape(row[i].text)
			if row[i].text == "" {
				row[i].text = "-"
			}
			widths[i] = max(widths[i], seen(row[i].text))
		}
	}
	if s.terminal() {
		shrink(columns, widths, s.width)
	}
	var b strings.Builder
	head := make([]cell, len(columns))
	for i, c := range columns {
		head[i] = cell{c.title, bold}
	}
	for _, row := range append([][]cell{head}, rows...) {
		for i, c := range row {
			shown := cut(c.text, widths[i])
			b.WriteString(s.styled(shown, c.style))
			if i < len(row)-1 {
				b.WriteString(strings.Repeat(" ", widths[i]-seen(shown)+2))
			}
		}
		b.WriteByte('\n')
	}
	_, err := io.WriteString(s.out, b.String())
	return err
}

// shrink takes from the widest columns until the line fits, if it can.
func shrink(columns []column, widths []int, width int) {
	total := 2 * (len(widths) - 1)
	for _, w := range widths {
		total += w
	}
	for ; total > width; total-- {
		widest := -1
		for i, c := range columns {
			if !c.whole && widths[i] > max(narrowest, len(c.title)) && (widest < 0 || widths[i] > widths[widest]) {
				widest = i
			}
		}
		if widest < 0 {
			return
		}
		widths[widest]--
	}
}

// seen returns how many cells of a terminal a text takes.
func seen(text string) int {
	n := 0
	for _, r := range text {
		if !unicode.Is(unicode.Mn, r) { // it stands on the one before
			n++
		}
	}
	return n
}

// cut returns what fits, with an ellipsis for the rest.
func cut(text string, width int) string {
	if seen(text) <= width {
		return text
	}
	n := 0
	for i, r := range text {
		if !unicode.Is(unicode.Mn, r) {
			n++
		}
		if n == width {
			return text[:i] + "…"
		}
	}
	return text
}

// field is a line of what describes one thing.
type field struct {
	name  string
	value cell
}

// fields prints the fields that have a value, aligned.
func (s *screen) fields(all []field) error {
	width := 0
	for _, f := range all {
		width = max(width, len(f.name))
	}
	for _, f := range all {
		if f.value.text == "" {
			continue
		}
		label := s.styled(f.name+":", bold) + strings.Repeat(" ", width-len(f.name))
		if _, err := fmt.Fprintf(s.out, "%s  %s\n", label, s.styled(escape(f.value.text), f.value.style)); err != nil {
			return err
		}
	}
	return nil
}
