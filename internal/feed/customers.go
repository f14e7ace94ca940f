package feed

import (
	"bufio"
	"encoding/csv"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
)

// Customers gives the ledger's customers their names at a receiver. The zero value leaves them as they are.
type Customers struct {
	Template string // with {customer} and {feature}, {step}, {agent}, {operation}, {provider}, {model} of the record; "" is {customer}
	Column   string // a dimension of the record that is the name
	File     string // CSV of two columns, customer and name, without a heading; it is read again when it changes

	unknown bool // nobody has a name

	mu    sync.Mutex
	names map[string]string // of the file
	read  fileState         // that names are of
	seen  fileState         // at the last look
}

type fileState struct {
	at   time.Time
	size int64
}

// Refresh reads the file when it has changed and two looks in a row see the same: one that is just being written ends in the middle of a name.
func (c *Customers) Refresh() error {
	if c.File == "" {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	state, err := stateOf(c.File)
	if err != nil || state == c.read {
		return err
	}
	settled := state == c.seen
	if c.seen = state; !settled {
		return nil
	}
	return c.take(state)
}

// Read reads the file now, because someone says that it is ready.
func (c *Customers) Read() error {
	if c.File == "" {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	state, err := stateOf(c.File)
	if err != nil {
		return err
	}
	return c.take(state)
}

// take reads the file, unless it changes meanwhile. It is called with mu held.
func (c *Customers) take(state fileState) error {
	names, err := readNames(c.File)
	if err != nil {
		return err
	}
	if c.seen, err = stateOf(c.File); err != nil {
		return err
	}
	if c.seen != state {
		return fmt.Errorf("%s was changed while it was read: nothing was changed", c.File)
	}
	c.names, c.read = names, state
	return nil
}

func stateOf(path string) (fileState, error) {
	info, err := os.Stat(path)
	if err != nil {
		return fileState{}, err
	}
	return fileState{info.ModTime(), info.Size()}, nil
}

const byteOrderMark = "\ufeff"

func readNames(path string) (names map[string]string, err error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	text := bufio.NewReader(file)
	if mark, _ := text.Peek(len(byteOrderMark)); string(mark) == byteOrderMark { // spreadsheets write it
		_, _ = text.Discard(len(byteOrderMark)) // it is there
	}
	rows := csv.NewReader(text)
	rows.FieldsPerRecord = 2
	rows.TrimLeadingSpace = true
	rows.Comment = '#'
	all, err := rows.ReadAll()
	if err != nil {
		return nil, err
	}
	names = make(map[string]string, len(all))
	for i, row := range all {
		row[0], row[1] = strings.TrimSpace(row[0]), strings.TrimSpace(row[1])
		if before, twice := names[row[0]]; twice && before != row[1] {
			return nil, fmt.Errorf("%s: row %d gives customer %q the name %q, an earlier one %q: nothing was changed", path, i+1, row[0], row[1], before)
		}
		names[row[0]] = row[1]
	}
	return names, nil
}

// Validate checks a template: a name in braces that nothing stands for would be one account for all customers.
func (c *Customers) Validate(dimensions []string) error {
	for _, m := range placeholder.FindAllStringSubmatch(c.Template, -1) {
		switch name := m[1]; {
		case name == "customer" || slices.Contains(dimensions, name):
		case slices.Contains(Dimensions, name):
			return fmt.Errorf("template has {%s}, which is not one of the receiver's dimensions, %v: its records don't tell it apart", name, dimensions)
		default:
			return fmt.Errorf("template has {%s}, which nothing stands for: it takes {customer} and {%s}", name, strings.Join(Dimensions, "}, {"))
		}
	}
	if rest := placeholder.ReplaceAllString(c.Template, ""); strings.ContainsAny(rest, "{}") {
		return fmt.Errorf("template is %q: a brace is not closed", c.Template)
	}
	return nil
}

var placeholder = regexp.MustCompile(`\{([^{}]*)\}`)

// Resolve is the name of a record's customer; ok is false when it has none.
func (c *Customers) Resolve(r *Record) (name string, ok bool) {
	switch {
	case c.unknown:
	case c.File != "":
		c.mu.Lock()
		name = c.names[r.Customer]
		c.mu.Unlock()
	case c.Column != "":
		name = r.Dimensions[c.Column]
	case c.Template != "":
		pairs := []string{"{customer}", r.Customer}
		for _, d := range Dimensions {
			pairs = append(pairs, "{"+d+"}", r.Dimensions[d])
		}
		name = strings.NewReplacer(pairs...).Replace(c.Template)
	default:
		name = r.Customer
	}
	return name, name != ""
}
