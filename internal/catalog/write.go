package catalog

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"strings"
)

// WriteYAML writes a document as a catalogue file, one line an entry or a field. builtin is written as it is.
func WriteYAML(w io.Writer, doc *Document) error {
	y := &yamlWriter{w: bufio.NewWriter(w)}
	y.printf("catalog: %d\nbuiltin: %t\n", FormatVersion, doc.Builtin)
	y.section("sources", len(doc.Sources), func(i int) {
		s := doc.Sources[i]
		y.printf("  - %s\n", flow("id", s.ID, "url", s.URL, "version", s.Version, "date", s.Date, "licence", s.Licence))
	})
	y.section("providers", len(doc.Providers), func(i int) {
		p := doc.Providers[i]
		y.printf("  - %s\n", flow("name", p.Name, "aliases", p.Aliases, "models", p.Models, "fallback", p.Fallback))
	})
	y.section("models", len(doc.Models), func(i int) {
		m := doc.Models[i]
		y.printf("  - %s\n", flow("provider", m.Provider, "model", m.Model, "aliases", m.Aliases, "patterns", m.Patterns))
	})
	y.section("customers", len(doc.Customers), func(i int) {
		c := doc.Customers[i]
		y.printf("  - %s\n", flow("customer", c.Customer, "plan", c.Plan, "effective", c.Effective.flow()))
	})
	y.section("rates", len(doc.Rates), func(i int) { y.entry(&doc.Rates[i]) })
	if y.err != nil {
		return y.err
	}
	return y.w.Flush()
}

type yamlWriter struct {
	w   *bufio.Writer
	err error
}

func (y *yamlWriter) printf(format string, args ...any) {
	if _, err := fmt.Fprintf(y.w, format, args...); err != nil {
		y.err = err
	}
}

func (y *yamlWriter) section(name string, n int, item func(int)) {
	if n > 0 {
		y.printf("%s:\n", name)
	}
	for i := range n {
		item(i)
	}
}

func (y *yamlWriter) entry(e *Entry) {
	head := "  - "
	for _, f := range []struct{ key, value string }{
		{"id", text(e.ID)},
		{"book", text(e.Book)},
		{"match", e.Match.flow()},
		{"currency", text(e.Currency)},
		{"effective", string(e.Effective.flow())},
		{"source", text(e.Source)},
		{"per", text(e.Per)},
		{"prices", pricesFlow(e.Prices)},
	} {
		if f.value != "" {
			y.printf("%s%s: %s\n", head, f.key, f.value)
			head = "    "
		}
	}
	if terms := strings.TrimSuffix(strings.TrimPrefix(string(e.flow(false)), "{"), "}"); terms != "" {
		y.printf("    %s\n", strings.Join(topLevel(terms), "\n    "))
	}
}

// topLevel splits a flow mapping's content at its own commas.
func topLevel(s string) []string {
	var parts []string
	depth, quoted, start := 0, false, 0
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			depth++
		case c == '}' || c == ']':
			depth--
		case c == ',' && depth == 0:
			parts = append(parts, strings.TrimSpace(s[start:i]))
			start = i + 1
		}
	}
	return append(parts, strings.TrimSpace(s[start:]))
}

// raw is text that is YAML already.
type raw string

func (e *Effective) flow() raw {
	if *e == (Effective{}) {
		return ""
	}
	var hours raw
	if e.Hours != nil {
		hours = raw(flow("from", e.Hours.From, "until", e.Hours.Until))
	}
	return raw(flow("from", e.From, "until", e.Until, "hours", hours))
}

func (m *Match) flow() string {
	if m.IsZero() {
		return ""
	}
	var pairs []any
	for _, f := range MatchFields {
		pairs = append(pairs, f, oneOrMore(m.Fields[f]))
	}
	if len(m.Dimensions) > 0 {
		var dims []any
		for _, k := range sortedKeys(m.Dimensions) {
			dims = append(dims, k, oneOrMore(m.Dimensions[k]))
		}
		pairs = append(pairs, "dimensions", raw(flow(dims...)))
	}
	return flow(pairs...)
}

func oneOrMore(values []string) any {
	if len(values) == 1 {
		return values[0]
	}
	return values
}

func (t *Terms) flow(withPer bool) raw {
	var tiers raw
	if t.Tiers != nil {
		steps := make([]string, len(t.Tiers.Steps))
		for i, s := range t.Tiers.Steps {
			steps[i] = flow("up_to", decimalText(s.UpTo), "price", decimalText(s.Price))
		}
		tiers = raw(flow("mode", t.Tiers.Mode, "over", t.Tiers.Over, "size", decimalText(t.Tiers.Size), "steps", raw("["+strings.Join(steps, ", ")+"]")))
	}
	per := t.Per
	if !withPer {
		per = ""
	}
	return raw(flow("price", decimalText(t.Price), "per", per, "unit", t.Unit, "markup", decimalText(t.Markup), "tiers", tiers,
		"minimum", decimalText(t.Minimum), "included", decimalText(t.Included)))
}

func pricesFlow(prices map[string]Terms) string {
	if len(prices) == 0 {
		return ""
	}
	var pairs []any
	for _, meter := range sortedKeys(prices) {
		t := prices[meter]
		simple := t
		simple.Price, simple.at = "", Position{}
		if simple == (Terms{}) {
			pairs = append(pairs, meter, decimalText(t.Price))
		} else {
			pairs = append(pairs, meter, t.flow(true))
		}
	}
	return flow(pairs...)
}

// decimalText quotes a decimal, so that no reader takes it for a float.
func decimalText(s string) raw {
	if s == "" {
		return ""
	}
	return raw(`"` + s + `"`)
}

// flow writes pairs of keys and values, those that are empty left out.
func flow(pairs ...any) string {
	var b strings.Builder
	b.WriteByte('{')
	for i := 0; i < len(pairs); i += 2 {
		var value string
		switch v := pairs[i+1].(type) {
		case raw:
			value = string(v)
		case string:
			value = text(v)
		case []string:
			items := make([]string, len(v))
			for i, s := range v {
				items[i] = text(s)
			}
			if len(items) > 0 {
				value = "[" + strings.Join(items, ", ") + "]"
			}
		}
		if value == "" {
			continue
		}
		if b.Len() > 1 {
			b.WriteString(", ")
		}
		b.WriteString(text(pairs[i].(string)) + ": " + value)
	}
	b.WriteByte('}')
	return b.String()
}

var (
	plain    = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_./@+-]*$`)
	reserved = regexp.MustCompile(`(?i)^(y|n|yes|no|on|off|true|false|null)$`)
)

// text is a string as YAML: as it stands where that is safe, else quoted as in JSON.
func text(s string) string {
	if s == "" || plain.MatchString(s) && !reserved.MatchString(s) {
		return s
	}
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(s); err != nil {
		return `""`
	}
	return strings.TrimSpace(b.String())
}
