package attribution

import (
	"bytes"
	"reflect"
	"strings"
	"testing"

	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/plog/plogotlp"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"

	"github.com/usagebox/otelcol-usagebox/usage"
)

// FuzzSpans: whatever OTLP bytes say, facts come out of them, survive storage, and lead to events that the ledger takes.
func FuzzSpans(f *testing.F) {
	r := newReader(f)
	for _, c := range captures(f) {
		for _, q := range c.Requests {
			if td, ok := spansOf(f, q); ok && len(q.Body) < 5_000 {
				b, err := ptraceotlp.NewExportRequestFromTraces(td).MarshalProto()
				if err != nil {
					f.Fatal(err)
				}
				f.Add(b)
			}
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		q := ptraceotlp.NewExportRequest()
		if q.UnmarshalProto(b) != nil {
			return
		}
		facts := r.Read(q.Traces(), arrival)
		if len(facts) != q.Traces().SpanCount() {
			t.Fatalf("%d spans made %d facts", q.Traces().SpanCount(), len(facts))
		}
		for _, trace := range byTrace(facts) {
			d := Decide(trace, nil)
			for i := range d.Events {
				if err := d.Events[i].Event.Validate(); err != nil {
					t.Fatalf("%+v: %v", d.Events[i].Event, err)
				}
			}
			_, state := Revise(Emitted{}, d.Events)
			if again, _ := Revise(state, d.Events); len(again) > 0 {
				t.Fatalf("a second look changes something: %v", again)
			}
		}
		stored(t, facts)
		r.Redact(q.Traces())
		r.Read(q.Traces(), arrival)
	})
}

func stored(t *testing.T, facts []Fact) {
	var b []byte
	for i := range facts {
		b = facts[i].AppendBinary(b)
	}
	for i := range facts {
		var f Fact
		rest, err := DecodeFact(b, &f)
		if err != nil {
			t.Fatal(err)
		}
		if again := f.AppendBinary(nil); !bytes.Equal(again, b[:len(b)-len(rest)]) {
			t.Fatalf("fact %d is stored as %x and comes back as %x", i, b[:len(b)-len(rest)], again)
		}
		b = rest
	}
}

func FuzzLogs(f *testing.F) {
	r := newReader(f)
	for _, c := range captures(f) {
		for _, q := range c.Requests {
			if q.Path == "/v1/logs" && strings.Contains(q.ContentType, "json") {
				l := plogotlp.NewExportRequest()
				if err := l.UnmarshalJSON(q.Body); err != nil {
					f.Fatal(err)
				}
				l.Logs().ResourceLogs().At(0).ScopeLogs().At(0).LogRecords().RemoveIf(func(r plog.LogRecord) bool {
					return !strings.HasSuffix(r.Body().AsString(), "api_request")
				})
				b, err := l.MarshalProto()
				if err != nil {
					f.Fatal(err)
				}
				f.Add(b)
			}
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		q := plogotlp.NewExportRequest()
		if q.UnmarshalProto(b) != nil {
			return
		}
		facts := r.ReadLogs(q.Logs(), arrival)
		stored(t, facts)
		for _, trace := range byTrace(facts) {
			d := Decide(trace, nil)
			for i := range d.Events {
				if err := d.Events[i].Event.Validate(); err != nil {
					t.Fatalf("%+v: %v", d.Events[i].Event, err)
				}
			}
		}
		r.RedactLogs(q.Logs())
	})
}

// FuzzStoredFact: bytes that are no fact are refused, and what is read is what is written again.
func FuzzStoredFact(f *testing.F) {
	for i := range generate(seed, 1).facts {
		f.Add(generate(seed, 1).facts[i].AppendBinary(nil))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var x, y Fact
		if _, err := DecodeFact(b, &x); err != nil {
			return
		}
		if _, err := DecodeFact(x.AppendBinary(nil), &y); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(x.AppendBinary(nil), y.AppendBinary(nil)) {
			t.Fatal("a fact changes when it is stored twice")
		}
		Decide([]Fact{x, y}, nil)
	})
}

func FuzzEmitted(f *testing.F) {
	_, e := Revise(Emitted{}, Decide(generate(seed, 2).facts, nil).Events)
	f.Add(e.AppendBinary(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		x, _, err := DecodeEmitted(b)
		if err != nil {
			return
		}
		y, _, err := DecodeEmitted(x.AppendBinary(nil))
		if err != nil || !bytes.Equal(x.AppendBinary(nil), y.AppendBinary(nil)) {
			t.Fatalf("what was emitted changes when it is stored twice: %v", err)
		}
	})
}

// FuzzJSONInAttribute: text that is or isn't JSON is looked into without harm.
func FuzzJSONInAttribute(f *testing.F) {
	f.Add(`{"usage":{"inputTokens":5,"outputTokens":"7"}}`, "usage.inputTokens")
	f.Add(`[{"a":[1,2,{"b":3}]}]`, "*.a.2.b")
	f.Add(`{"a":{"a":{"a":1e3}}}`, "*.*.*")
	f.Fuzz(func(t *testing.T, text, path string) {
		v, ok := findJSON(text, strings.Split(path, "."))
		if ok && !strings.Contains(text, string(v)) {
			t.Fatalf("%q is not in %q", v, text)
		}
	})
}

func FuzzDialectFile(f *testing.F) {
	f.Add(string(builtinDialects))
	f.Add("version: 1\ndialects:\n  - name: x\n    match: {any: [a]}\n    roles: [{role: call, names: [b]}]\n")
	f.Fuzz(func(_ *testing.T, text string) {
		t, err := parseTable("file", []byte(text))
		if err != nil {
			return
		}
		c := &compiler{keys: map[string]key{}}
		for _, d := range t.Dialects {
			c.dialect(d, &t.Common)
		}
	})
}

func FuzzGlob(f *testing.F) {
	f.Add("a*b[-._]c", "axxb-c")
	f.Fuzz(func(t *testing.T, pattern, text string) {
		glob(pattern[:min(len(pattern), 30)], text[:min(len(text), 30)])
		if !strings.ContainsAny(text, "*[") && !glob(text, text) {
			t.Fatalf("%q does not match itself", text)
		}
	})
}

// FuzzChain: bytes that are no event are refused, and what is read is what is written again.
func FuzzChain(f *testing.F) {
	var c Chain
	var b []byte
	events, _ := Revise(Emitted{}, Decide(generate(seed, 2).facts, nil).Events)
	for i := range events {
		b = c.Append(b, &events[i])
	}
	f.Add(string(b))
	f.Fuzz(func(t *testing.T, s string) {
		var read, write, again Chain
		for s != "" {
			var x, y usage.Event
			var err error
			if s, err = read.Read(s, &x); err != nil {
				return
			}
			if rest, err := again.Read(string(write.Append(nil, &x)), &y); err != nil || rest != "" || !reflect.DeepEqual(x, y) {
				t.Fatalf("an event changes when it is stored twice: %v\n%+v\n%+v", err, x, y)
			}
		}
	})
}
