package explaintrace

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"unicode"
)

func printJSON(out io.Writer, traces []Trace) error {
	e := json.NewEncoder(out)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(traces)
}

func printText(out io.Writer, traces []Trace) error {
	w := bufio.NewWriter(out)
	for i := range traces {
		if i > 0 {
			fmt.Fprintln(w)
		}
		traces[i].print(w)
	}
	return w.Flush()
}

func (t *Trace) print(w *bufio.Writer) {
	fmt.Fprintf(w, "trace %s: %d spans, %d events", t.TraceID, len(t.Spans), len(t.Events))
	if !t.Complete {
		fmt.Fprint(w, "; its root or a parent is missing")
	}
	fmt.Fprintln(w)
	for i := range t.Spans {
		t.Spans[i].print(w)
	}
	fmt.Fprintln(w, "events")
	for i := range t.Events {
		t.Events[i].print(w)
	}
	fmt.Fprintln(w, "totals")
	for _, meter := range slices.Sorted(maps.Keys(t.Totals)) {
		fmt.Fprintf(w, "  %-24s %s\n", meter, t.Totals[meter])
	}
}

// mark shows at a glance what is counted.
func (s *Span) mark() string {
	switch s.Verdict {
	case "call", "aggregate", "tool", "agent", "retrieval", "memory":
		return "+"
	case "double", "wrapper":
		return "="
	case "failed", "never":
		return "x"
	}
	return "·"
}

func (s *Span) print(w *bufio.Writer) {
	indent := strings.Repeat("  ", min(s.Depth, 40))
	fmt.Fprintf(w, "  %s%s %s %s", indent, s.mark(), s.SpanID, s.Verdict)
	if s.Name != "" {
		fmt.Fprintf(w, " %q", plain(s.Name))
	}
	if s.Model != "" {
		fmt.Fprintf(w, " %s", plain(s.Model))
	}
	if s.Dialect != "" {
		fmt.Fprintf(w, " [%s as %s]", s.Dialect, s.Role)
	}
	fmt.Fprintln(w)
	detail := func(format string, args ...any) {
		fmt.Fprintf(w, "  %s    "+format+"\n", append([]any{indent}, args...)...)
	}
	if s.Reason != "" {
		reason := s.Reason
		if s.Of != "" {
			reason += " (" + s.Of + ")"
		}
		detail("because: %s", plain(reason))
	}
	if len(s.Reported) > 0 {
		detail("reports: %s", pairs(s.Reported))
	}
	if s.Read != nil {
		detail("read as: %s; cache: %s; reasoning: %s", pairs(s.Read.Meters), s.Read.Cache, s.Read.Thought)
	}
	if len(s.Says) > 0 {
		detail("says: %s", pairs(s.Says))
	}
}

func (e *Event) print(w *bufio.Writer) {
	fmt.Fprintf(w, "  %s", e.ID)
	if e.Model != "" {
		fmt.Fprintf(w, " %s", plain(e.Model))
	}
	if len(e.Flags) > 0 {
		fmt.Fprintf(w, " (%s)", strings.Join(e.Flags, ", "))
	}
	fmt.Fprintf(w, "\n    %s\n", pairs(e.Meters))
	var who []string
	for _, name := range slices.Sorted(maps.Keys(e.Identity)) {
		id := e.Identity[name]
		text := fmt.Sprintf("%s=%s", name, plain(id.Value))
		if id.Origin != "" {
			text += " from " + id.Origin
		}
		who = append(who, text)
	}
	fmt.Fprintf(w, "    %s\n", strings.Join(who, "; "))
	if len(e.Spans) > 1 {
		fmt.Fprintf(w, "    one call seen by the spans %s\n", strings.Join(e.Spans, ", "))
	}
}

func pairs[V any](m map[string]V) string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		out = append(out, fmt.Sprintf("%s=%v", k, plain(fmt.Sprint(m[k]))))
	}
	return strings.Join(out, " ")
}

// plain keeps a sender's text from steering the terminal.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
}
