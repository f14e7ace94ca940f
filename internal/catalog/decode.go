package catalog

import (
	"bytes"
	"errors"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// Decode reads one file: YAML or JSON, one document. The error is Problems, each with its line and column.
func Decode(file string, text []byte) (*Document, error) {
	d := &decoder{file: file}
	var root yaml.Node
	dec := yaml.NewDecoder(bytes.NewReader(text))
	if err := dec.Decode(&root); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, Problems{{Position{File: file}, "is empty: a catalogue begins with catalog: 1"}}
		}
		return nil, Problems{syntaxProblem(file, err)}
	}
	var more yaml.Node
	if err := dec.Decode(&more); !errors.Is(err, io.EOF) {
		d.fail(&root, "is followed by another document: a file is one")
	}
	doc := d.document(root.Content[0], 0)
	if len(d.problems) > 0 {
		return nil, d.problems
	}
	return doc, nil
}

var (
	yamlLine = regexp.MustCompile(`^yaml: line (\d+): `)
	// ofParser are errors in which the YAML package counts lines from 0; in others it counts them from 1.
	ofParser = regexp.MustCompile(`did not find expected (<|node content|'-' indicator|key|',')`)
)

// syntaxProblem is what is no YAML. The package tells no column, and of what is not closed the line in which it begins.
func syntaxProblem(file string, err error) Problem {
	text := err.Error()
	p := Problem{Position: Position{File: file}, Message: "is no YAML: " + strings.TrimPrefix(text, "yaml: ")}
	if m := yamlLine.FindStringSubmatch(text); m != nil {
		p.Line, _ = strconv.Atoi(m[1])
		if ofParser.MatchString(text) {
			p.Line++
		}
		p.Message = "is no YAML: " + text[len(m[0]):]
	}
	return p
}

// decoder reads nodes and remembers what is wrong with them.
type decoder struct {
	file     string
	problems Problems
	currency string // of rates that name none, in this file
}

func (d *decoder) at(n *yaml.Node) Position { return Position{d.file, n.Line, n.Column} }

func (d *decoder) fail(n *yaml.Node, format string, args ...any) {
	d.problems.add(d.at(n), format, args...)
}

// fields reads a mapping: each of its keys by its reader. what names it in messages.
func (d *decoder) fields(n *yaml.Node, what string, readers map[string]func(*yaml.Node)) {
	if n.Kind != yaml.MappingNode {
		d.fail(n, "%s is not a mapping of %s", what, known(readers))
		return
	}
	seen := make(map[string]bool, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		read, ok := readers[key.Value]
		switch {
		case key.Kind != yaml.ScalarNode || !ok:
			d.fail(key, "%s has no field %.64q: it has %s", what, key.Value, known(readers))
		case seen[key.Value]:
			d.fail(key, "%s has %s twice", what, key.Value)
		default:
			read(value)
		}
		seen[key.Value] = true
	}
}

func known(readers map[string]func(*yaml.Node)) string {
	names := make([]string, 0, len(readers))
	for name := range readers {
		names = append(names, name)
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

// items calls read with each element of a list.
func (d *decoder) items(n *yaml.Node, what string, read func(*yaml.Node)) {
	if n.Kind != yaml.SequenceNode {
		d.fail(n, "%s is not a list", what)
		return
	}
	for _, item := range n.Content {
		read(item)
	}
}

const maxText = 1024

// scalar reads the text of a value exactly as it was written.
func (d *decoder) scalar(what string, into *string) func(*yaml.Node) {
	return func(n *yaml.Node) {
		switch {
		case n.Kind == yaml.AliasNode:
			d.fail(n, "%s is a YAML alias: write the value", what)
		case n.Kind != yaml.ScalarNode || n.ShortTag() == "!!null":
			d.fail(n, "%s is not a single value", what)
		case n.Value == "":
			d.fail(n, "%s is empty: leave it out", what)
		case len(n.Value) > maxText:
			d.fail(n, "%s has more than %d bytes", what, maxText)
		case strings.ContainsRune(n.Value, 0):
			d.fail(n, "%s contains a zero byte", what)
		default:
			*into = n.Value
		}
	}
}

// decimal reads a decimal number ≥ 0 and writes its shortest text.
func (d *decoder) decimal(what string, into *string) func(*yaml.Node) {
	return func(n *yaml.Node) {
		var text string
		d.scalar(what, &text)(n)
		if text == "" {
			return
		}
		r, err := parseDecimal(text)
		if err != nil {
			d.fail(n, "%s %v", what, err)
			return
		}
		*into = formatDecimal(r)
	}
}

func (d *decoder) oneOf(what string, into *string, values ...string) func(*yaml.Node) {
	return func(n *yaml.Node) {
		var text string
		d.scalar(what, &text)(n)
		if text != "" && !slices.Contains(values, text) {
			d.fail(n, "%s is %.32q: it is one of %s", what, text, strings.Join(values, ", "))
			return
		}
		*into = text
	}
}

// names reads one text or a list of them.
func (d *decoder) names(what string, into *[]string) func(*yaml.Node) {
	return func(n *yaml.Node) {
		one := func(n *yaml.Node) {
			var text string
			d.scalar(what, &text)(n)
			if slices.Contains(*into, text) {
				d.fail(n, "%s has %.64q twice", what, text)
			}
			*into = append(*into, text)
		}
		if n.Kind == yaml.SequenceNode {
			d.items(n, what, one)
			if len(n.Content) == 0 {
				d.fail(n, "%s is an empty list: leave it out", what)
			}
			return
		}
		one(n)
	}
}

var currencyCode = regexp.MustCompile(`^[A-Z]{3}$`)

func (d *decoder) currencyField(into *string) func(*yaml.Node) {
	return func(n *yaml.Node) {
		d.scalar("currency", into)(n)
		if *into != "" && !currencyCode.MatchString(*into) {
			d.fail(n, "currency is %.16q: it is three capital letters, such as USD", *into)
		}
	}
}

// moment reads a date or a time, and writes it in UTC.
func (d *decoder) moment(what string, into *string) func(*yaml.Node) {
	return func(n *yaml.Node) {
		var text string
		d.scalar(what, &text)(n)
		if text == "" {
			return
		}
		t, err := parseMoment(text)
		if err != nil {
			d.fail(n, "%s %v", what, err)
			return
		}
		*into = t.UTC().Format(time.RFC3339Nano)
	}
}

func (d *decoder) clock(what string, into *string) func(*yaml.Node) {
	return func(n *yaml.Node) {
		d.scalar(what, into)(n)
		if _, err := parseClock(*into); *into != "" && err != nil {
			d.fail(n, "%s is %.32q: it is a time of day in UTC such as \"16:30\"", what, *into)
		}
	}
}

func (d *decoder) effective(into *Effective) func(*yaml.Node) {
	return func(n *yaml.Node) {
		d.fields(n, "effective", map[string]func(*yaml.Node){
			"from":  d.moment("from", &into.From),
			"until": d.moment("until", &into.Until),
			"hours": func(n *yaml.Node) {
				into.Hours = &Hours{}
				d.fields(n, "hours", map[string]func(*yaml.Node){"from": d.clock("from", &into.Hours.From), "until": d.clock("until", &into.Hours.Until)})
				if into.Hours.From == "" || into.Hours.Until == "" || into.Hours.From == into.Hours.Until {
					d.fail(n, "hours has a from and an until, which differ")
				}
			},
		})
		if r, err := into.parse(); err == nil && r.from >= r.until {
			d.fail(n, "effective is empty: until is not after from")
		}
	}
}
