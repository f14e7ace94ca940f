package catalog

import (
	"fmt"
	"strings"
)

// Position is a place in a catalogue's files. Line and Column count from 1; 0 is unknown.
type Position struct {
	File         string
	Line, Column int
}

func (p Position) String() string {
	if p.Line == 0 {
		return p.File
	}
	if p.Column == 0 {
		return fmt.Sprintf("%s:%d", p.File, p.Line)
	}
	return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column)
}

// Problem is one thing that is wrong in a catalogue.
type Problem struct {
	Position
	Message string
}

func (p Problem) String() string { return p.Position.String() + ": " + p.Message }

// Problems is why a catalogue can't be used. It names every place.
type Problems []Problem

func (p Problems) Error() string {
	const shown = 5
	texts := make([]string, 0, shown+1)
	for i, one := range p {
		if i == shown {
			texts = append(texts, fmt.Sprintf("and %d more", len(p)-shown))
			break
		}
		texts = append(texts, one.String())
	}
	return strings.Join(texts, "; ")
}

func (p *Problems) add(at Position, format string, args ...any) {
	*p = append(*p, Problem{at, fmt.Sprintf(format, args...)})
}
