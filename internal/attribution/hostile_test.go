package attribution

import (
	"encoding/binary"
	"fmt"
	"os"
	"testing"

	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/usagebox/otelcol-usagebox/usage"
)

// many is how large a trace may get; ATTRIBUTION_CASES set means that there is time.
var many = func() int {
	if os.Getenv("ATTRIBUTION_CASES") != "" {
		return 100_000
	}
	return 20_000
}()

func numbered(n, parent int, f Fact) Fact {
	f.Trace = TraceID{1}
	binary.BigEndian.PutUint64(f.Span[:], uint64(n))
	if parent > 0 {
		binary.BigEndian.PutUint64(f.Parent[:], uint64(parent))
	}
	return f
}

// Huge traces in the shapes that cost most are decided; a quadratic step would take hours here.
func TestHugeTracesOfAnyShapeAreDecided(t *testing.T) {
	call := func(i int) Fact {
		f := Fact{Role: RoleCall, Model: fmt.Sprintf("m%d", i%3), Emitter: fmt.Sprintf("e%d", i%2), Start: 1, End: usage.Micros(1_000_000 + i), Traits: TraitServed}
		f.Usage.set(FieldInput, int64(100+i%1000))
		f.Usage.set(FieldOutput, int64(10+i%500))
		return f
	}
	sum := func(i int) Fact {
		f := call(i)
		f.Role = []Role{RoleWrapper, RoleAgent}[i%2]
		return f
	}
	shapes := map[string]func(i int) Fact{
		"calls beside each other at one time": func(i int) Fact { return numbered(i, 1, call(i)) },
		"calls inside each other":             func(i int) Fact { return numbered(i, i-1, call(i)) },
		"sums inside each other":              func(i int) Fact { return numbered(i, i-1, sum(i)) },
		"sums beside each other":              func(i int) Fact { return numbered(i, 1, sum(i)) },
		"parents that are missing":            func(i int) Fact { return numbered(i, many+i+1, []func(int) Fact{call, sum}[i%2](i)) },
		"one circle":                          func(i int) Fact { return numbered(i, i%many+1, call(i)) },
		"own parents":                         func(i int) Fact { return numbered(i, i, call(i)) },
		"tools of one id": func(i int) Fact {
			return numbered(i, 1, Fact{Role: RoleTool, CallID: "c", Emitter: fmt.Sprintf("e%d", i%2), Start: usage.Micros(2 * i), End: usage.Micros(2*i + 1)})
		},
		"agents inside each other with links": func(i int) Fact {
			f := numbered(i, i-1, sum(2*i+1))
			f.Links = []Place{{TraceID{2}, SpanID{1}}}
			f.Own.Extra = []usage.Dimension{{Key: "k", Value: fmt.Sprint(i)}}
			return f
		},
		"copies of one span": func(i int) Fact { f := call(i); return numbered(7, 1, f) },
		"conversations of their own": func(i int) Fact {
			f := call(i)
			f.Own.Slots[SlotConversation], f.Own.Slots[SlotUser] = fmt.Sprint("talk ", i), fmt.Sprint("user ", i)
			return numbered(i, 0, f)
		},
		"calls that others tell of too": func(i int) Fact {
			f := call(1)
			f.ResponseID, f.Service, f.Start, f.End = "r", "s", usage.Micros(i), usage.Micros(i+10)
			return numbered(i, 1, f)
		},
		"ids of zeros": func(i int) Fact { f := call(i); f.Trace = TraceID{}; return f },
	}
	n := many
	if testing.Short() || raceEnabled {
		n = 5_000
	}
	for name, shape := range shapes {
		t.Run(name, func(t *testing.T) {
			facts := make([]Fact, 0, n)
			for i := 1; i <= n; i++ {
				facts = append(facts, shape(i))
			}
			d := Decide(facts, gossips{})
			if notes := d.Notes(); len(notes) > 2*n {
				t.Fatalf("%d notes", len(notes))
			}
			if len(d.Spans) == 0 || len(d.Spans) > n {
				t.Fatalf("%d spans are judged", len(d.Spans))
			}
			_, state := Revise(Emitted{}, d.Events)
			if again, _ := Revise(state, d.Events); len(again) > 0 {
				t.Fatalf("a second look changes %d things", len(again))
			}
		})
	}
}

// gossips tell a lot about everything.
type gossips struct{ Nobody }

func (gossips) Span(Place) (Linked, bool) { return Linked{Run: "r", Fact: &Fact{}}, true }

func (gossips) Calls(t Topic, sub uint64, from, to usage.Micros, _ TraceID) (notes []Note) {
	for i := range byte(maxComponent) {
		n := telling{Note: Note{Place: Place{TraceID{77, i}, SpanID{1}}, Topic: t, Kind: NoteSignal, Sub: sub + 1, Start: from, End: to}, log: true}
		n.Value = n.encode(0)
		notes = append(notes, n.Note)
	}
	return notes
}

func TestHugeSpansMakeSmallFacts(t *testing.T) {
	r := newReader(t)
	td := ptrace.NewTraces()
	s := td.ResourceSpans().AppendEmpty().ScopeSpans().AppendEmpty().Spans().AppendEmpty()
	s.SetTraceID([16]byte{1})
	s.SetSpanID([8]byte{1})
	s.SetEndTimestamp(10)
	s.SetName("chat gpt-4o")
	for i := range 10_000 {
		s.Attributes().PutStr(fmt.Sprintf("attribute.%d", i), "value")
	}
	for range 1000 {
		s.Links().AppendEmpty().SetSpanID([8]byte{2})
	}
	content := make([]byte, 64<<20)
	for i := range content {
		content[i] = 'x'
	}
	s.Attributes().PutStr("gen_ai.input.messages", string(content))
	s.Attributes().PutStr("metadata", `{"customer_id":"`+string(content)+`"}`)
	s.Attributes().PutStr("gen_ai.operation.name", "chat")
	s.Attributes().PutStr("customer.id", string(content))
	s.Attributes().PutInt("gen_ai.usage.input_tokens", 10)
	facts := r.Read(td, arrival)
	if size := len(facts[0].AppendBinary(nil)); size > 8<<10 {
		t.Errorf("a fact takes %d bytes", size)
	}
	e := Decide(facts, nil).Events[0].Event
	if err := e.Validate(); err != nil || len(e.Customer) != DefaultMaxValueBytes {
		t.Errorf("customer of %d bytes: %v", len(e.Customer), err)
	}
}

func TestAClockThatRunsAheadIsSetBack(t *testing.T) {
	f := Fact{Start: arrival + usage.MicrosPerHour*24, End: arrival + usage.MicrosPerHour*25}
	f.clamp(arrival, defaultMaxAhead)
	if f.End != arrival+defaultMaxAhead || f.Start >= f.End {
		t.Errorf("%d to %d for an arrival at %d", f.Start, f.End, arrival)
	}
}

func TestLongValuesThatDifferStayDifferent(t *testing.T) {
	long := string(make([]byte, 5000))
	a, b := cut(long+"a", 256), cut(long+"b", 256)
	if a == b || len(a) > 256 || len(b) > 256 || cut("short", 256) != "short" {
		t.Errorf("%q and %q", a, b)
	}
	if x, y := cut("\xff", 256), cut("\xfe", 256); x == y {
		t.Errorf("two values that are no UTF-8 become one: %q", x)
	}
}

func BenchmarkRead(b *testing.B) {
	r := newReader(b)
	for _, size := range []int{0, 2 << 10, 20 << 10} {
		td := ptrace.NewTraces()
		rs := td.ResourceSpans().AppendEmpty()
		rs.Resource().Attributes().PutStr("service.name", "s")
		spans := rs.ScopeSpans().AppendEmpty().Spans()
		for i := range 100 {
			s := spans.AppendEmpty()
			s.SetTraceID([16]byte{1})
			s.SetSpanID([8]byte{byte(i), 1})
			s.SetName("GET /")
			s.Attributes().PutStr("http.request.method", "GET")
			if i%5 == 0 {
				put(s, attrs{"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o", "gen_ai.response.model": "gpt-4o-2024-08-06", "gen_ai.usage.input_tokens": 10, "gen_ai.usage.output_tokens": 2, "customer.id": "acme", "gen_ai.input.messages": string(make([]byte, size))})
			}
		}
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				r.Read(td, arrival)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/100, "ns/span")
		})
	}
}

func BenchmarkDecide(b *testing.B) {
	g := generate(seed, 3)
	b.ReportAllocs()
	for b.Loop() {
		Decide(g.facts, nil)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(g.facts)), "ns/span")
}
