package attribution

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/ptrace"
)

// Redact takes contents out of spans in place: numbers and truths stay; texts stay where a dialect reads a name, a model or an id; identities
// become hashes, equal ones equal; of every other text the length stays. What it leaves is decided like the whole.
func (r *Reader) Redact(td ptrace.Traces) {
	c := r.redactor()
	for _, rs := range td.ResourceSpans().All() {
		c.attributes(rs.Resource().Attributes())
		for _, ss := range rs.ScopeSpans().All() {
			c.attributes(ss.Scope().Attributes())
			for _, s := range ss.Spans().All() {
				c.attributes(s.Attributes())
				s.Status().SetMessage(refusalOnly(s.Status().Message()))
				for _, e := range s.Events().All() {
					c.attributes(e.Attributes())
				}
				for _, l := range s.Links().All() {
					c.attributes(l.Attributes())
				}
			}
		}
	}
}

// RedactLogs does the same for log records.
func (r *Reader) RedactLogs(ld plog.Logs) {
	c := r.redactor()
	for _, rl := range ld.ResourceLogs().All() {
		c.attributes(rl.Resource().Attributes())
		for _, sl := range rl.ScopeLogs().All() {
			c.attributes(sl.Scope().Attributes())
			for _, l := range sl.LogRecords().All() {
				c.attributes(l.Attributes())
				if b := l.Body(); b.Type() != pcommon.ValueTypeStr || !eventName(b.Str()) {
					redactValue(b, hidden)
				}
			}
		}
	}
}

func eventName(s string) bool {
	return len(s) <= maxEventName && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789_.-") == ""
}

// keeping is what is left of a text.
type keeping uint8

const (
	hidden    keeping = iota // its length
	hashed                   // a hash
	kept                     // itself, if it is short
	errorOnly                // what of it says that a server refused
	insideOf                 // JSON: the numbers in it
)

const maxKept = 256

type redactor struct {
	keep  map[string]keeping
	names map[string]bool       // steps of paths into JSON
	words map[string][][]string // by attribute: paths into its JSON to what names a model or an operation, which decides how numbers are read
}

func (r *Reader) redactor() *redactor {
	c := &redactor{keep: map[string]keeping{"service.name": kept, "exception.type": kept, "event.name": kept}, names: map[string]bool{}, words: map[string][][]string{}}
	kinds := make([]keeping, len(r.keys))
	paths := make([][][]string, len(r.keys))
	var mark func(k keeping, sources ...source)
	mark = func(k keeping, sources ...source) {
		for _, s := range sources {
			mark(k, s.plus...)
			if s.path != nil {
				kinds[s.key] = insideOf
				for _, step := range s.path {
					c.names[step] = true
				}
			} else {
				kinds[s.key] = max(kinds[s.key], k)
			}
		}
	}
	for _, sources := range r.identity {
		mark(hashed, sources...)
	}
	for _, e := range r.extra {
		mark(hashed, e.sources...)
	}
	identity := map[key]bool{}
	for k, kind := range kinds {
		identity[key(k)] = kind == hashed
	}
	rules := func(rules []rule) {
		for i := range rules {
			if rules[i].hasKey {
				mark(kept, source{key: rules[i].key})
			}
		}
	}
	rules(r.roles)
	for _, d := range r.dialects {
		rules(d.roles)
		for k := range d.values {
			mark(kept, source{key: k})
		}
		for _, sources := range d.tokens {
			mark(kept, sources...)
		}
		for _, sources := range d.texts {
			mark(kept, sources...)
		}
		for _, of := range [...]text{textModel, textRequested, textProvider, textOperation} {
			for _, s := range d.texts[of] {
				if s.path != nil {
					paths[s.key] = append(paths[s.key], s.path)
				}
			}
		}
	}
	for _, k := range r.streaming {
		mark(kept, source{key: k})
	}
	for _, k := range r.errors {
		kinds[k] = errorOnly
	}
	for name, k := range r.keys {
		c.keep[name], c.words[name] = kinds[k], paths[k]
		if identity[k] && kinds[k] == kept {
			c.keep[name] = hashed
		}
	}
	return c
}

func (c *redactor) attributes(m pcommon.Map) {
	for name, v := range m.All() {
		keep := c.keep[name]
		switch {
		case keep == insideOf && v.Type() == pcommon.ValueTypeStr:
			v.SetStr(c.json(v.Str(), c.words[name]))
		case keep == insideOf && v.Type() == pcommon.ValueTypeMap:
			for _, inner := range v.Map().All() {
				redactValue(inner, hashed)
			}
		default:
			redactValue(v, keep)
		}
	}
}

func redactValue(v pcommon.Value, keep keeping) {
	switch v.Type() {
	case pcommon.ValueTypeStr:
		v.SetStr(redactText(v.Str(), keep))
	case pcommon.ValueTypeBytes:
		v.SetStr(fmt.Sprintf("(%d bytes)", v.Bytes().Len()))
	case pcommon.ValueTypeMap:
		for _, inner := range v.Map().All() {
			redactValue(inner, keep)
		}
	case pcommon.ValueTypeSlice:
		for _, inner := range v.Slice().All() {
			redactValue(inner, keep)
		}
	}
}

func redactText(s string, keep keeping) string {
	switch {
	case s == "":
		return s
	case keep == hashed:
		return pseudonym(s)
	case keep == errorOnly:
		return refusalOnly(s)
	case keep == kept && len(s) <= maxKept:
		return s
	}
	return fmt.Sprintf("(text of %d bytes)", len(s))
}

func pseudonym(s string) string {
	sum := sha256.Sum256([]byte(s))
	return "~" + hex.EncodeToString(sum[:6])
}

func refusalOnly(message string) string {
	if message == "" {
		return ""
	}
	first, _, _ := strings.Cut(message, "\n")
	if found := refusal.FindString(first[:min(len(first), 256)]); found != "" {
		return strings.TrimLeft(found, " \t\"'(=")
	}
	return "(text)" // a length would look like a status
}

// json keeps the shape and the numbers of JSON text, and the texts at words; names that no dialect looks for and other texts become hashes.
func (c *redactor) json(text string, words [][]string) string {
	hide := fmt.Sprintf("(text of %d bytes)", len(text))
	if len(text) > maxJSON {
		return hide
	}
	d := jsontext.NewDecoder(strings.NewReader(text), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	var b strings.Builder
	e := jsontext.NewEncoder(&b, jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	for {
		kind, length := d.StackIndex(d.StackDepth())
		t, err := d.ReadToken()
		if err != nil {
			break
		}
		if t.Kind() == '"' {
			s := t.String()
			isName := kind == '{' && length%2 == 0
			if isName && !c.names[s] || !isName && (len(s) > maxKept || !leads(words, string(d.StackPointer()))) {
				t = jsontext.String(pseudonym(s))
			}
		}
		if err := e.WriteToken(t); err != nil {
			return hide
		}
	}
	if d.StackDepth() != 0 || b.Len() == 0 {
		return hide
	}
	return strings.TrimSpace(b.String())
}

// leads says whether a JSON pointer is one of paths.
func leads(paths [][]string, pointer string) bool {
	steps := strings.Split(strings.TrimPrefix(pointer, "/"), "/")
	return slices.ContainsFunc(paths, func(path []string) bool {
		return slices.EqualFunc(path, steps, func(p, s string) bool { return p == "*" || p == s })
	})
}
