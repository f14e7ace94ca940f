package feed

import (
	"encoding/csv"
	"errors"
	"fmt"
	"os"
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
	read  fileState
}

type fileState struct {
	at   time.Time
	size int64
}

// Refresh reads the file when it has changed.
func (c *Customers) Refresh() error {
	if c.File == "" {
		return nil
	}
	info, err := os.Stat(c.File)
	if err != nil {
		return err
	}
	state := fileState{info.ModTime(), info.Size()}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.names != nil && state == c.read {
		return nil
	}
	names, err := readNames(c.File)
	if err != nil {
		return err
	}
	c.names, c.read = names, state
	return nil
}

func readNames(path string) (names map[string]string, err error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	rows := csv.NewReader(file)
	rows.FieldsPerRecord = 2
	rows.TrimLeadingSpace = true
	rows.Comment = '#'
	all, err := rows.ReadAll()
	if err != nil {
		return nil, err
	}
	names = make(map[string]string, len(all))
	for i, row := range all {
		if before, twice := names[row[0]]; twice && before != row[1] {
			return nil, fmt.Errorf("%s: row %d gives customer %q the name %q, an earlier one %q: nothing was changed", path, i+1, row[0], row[1], before)
		}
		names[row[0]] = row[1]
	}
	return names, nil
}

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
