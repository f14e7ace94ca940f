package attribution

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/usagebox/otelcol-usagebox/test/judge"
	"github.com/usagebox/otelcol-usagebox/usage"
)

// book is a ledger's view of events: what each live event adds up to.
type book struct {
	t      testing.TB
	events []usage.Event
	byID   map[string]usage.Event
	gone   map[string]bool
}

func newBook(t testing.TB) *book {
	return &book{t: t, byID: map[string]usage.Event{}, gone: map[string]bool{}}
}

// add takes events as the ledger does, and fails where it would refuse one.
func (b *book) add(events []usage.Event) {
	for _, e := range events {
		if err := e.Validate(); err != nil {
			b.t.Fatalf("%s: %v", e.ID, err)
		}
		key := e.Customer + "/" + e.ID
		if _, ok := b.byID[key]; ok {
			b.t.Fatalf("%s came twice", key)
		}
		b.byID[key] = e
		if e.Kind == usage.KindUsage {
			b.events = append(b.events, e)
			continue
		}
		target, ok := b.byID[e.Customer+"/"+e.Corrects]
		if !ok || target.Kind != usage.KindUsage || b.gone[e.Customer+"/"+e.Corrects] || target.Timestamp != e.Timestamp {
			b.t.Fatalf("%s %s corrects %s of %s, which is not there, gone or of another time", e.Kind, e.ID, e.Corrects, e.Customer)
		}
		if e.Kind == usage.KindCorrection {
			for _, l := range e.Lines {
				if target.Line(l.Meter) == nil {
					b.t.Fatalf("%s corrects %s, which its target lacks", e.ID, l.Meter)
				}
			}
			b.events = append(b.events, e)
			b.checkContext(e)
			continue
		}
		b.gone[e.Customer+"/"+e.Corrects] = true
		for _, o := range slices.Clone(b.events) {
			if o.Customer == e.Customer && (o.ID == e.Corrects || o.Corrects == e.Corrects) {
				r := o
				r.ID, r.Kind, r.Corrects = e.ID+o.ID, usage.KindRetraction, e.Corrects
				r.Lines = difference(nil, o.Lines)
				b.events = append(b.events, r)
			}
		}
	}
}

// checkContext wants a correction to say what the call was given in all.
func (b *book) checkContext(correction usage.Event) {
	var given usage.Quantity
	for _, e := range b.events {
		if e.Customer != correction.Customer || e.ID != correction.Corrects && e.Corrects != correction.Corrects {
			continue
		}
		for _, l := range e.Lines {
			if usage.GivenTokens(l.Meter) {
				given += l.Quantity
			}
		}
	}
	told := usage.Quantity(0)
	for _, d := range correction.Dimensions {
		if d.Key == usage.DimensionContext {
			told, _ = usage.ParseQuantity(d.Value)
		}
	}
	if told != given {
		b.t.Fatalf("%s says that the call was given %s tokens, it was given %s", correction.ID, told, given)
	}
}

// told keeps what was emitted per trace, through its stored form.
type told struct {
	book
	emitted map[TraceID][]byte
}

func (s *told) settle(facts []Fact) {
	for id, decision := range NewWorld(facts).Decide() {
		var before Emitted
		if b, ok := s.emitted[id]; ok {
			var err error
			if before, _, err = DecodeEmitted(b); err != nil {
				s.t.Fatal(err)
			}
		}
		planned := decision.Events
		out, after := Revise(before, planned)
		s.add(out)
		s.emitted[id] = after.AppendBinary(nil)
		if again, state := Revise(after, planned); len(again) > 0 || !bytes.Equal(state.AppendBinary(nil), s.emitted[id]) {
			s.t.Fatalf("a second look changes something: %v", again)
		}
	}
}

func TestHalvesThatSettleOneByOneAreExactInTheEnd(t *testing.T) {
	r := newReader(t)
	for _, c := range captures(t) {
		t.Run(c.Name, func(t *testing.T) {
			all := factsOf(t, r, c)
			for seed := range uint64(40) {
				random := rand.New(rand.NewPCG(seed, 7))
				facts := slices.Clone(all)
				random.Shuffle(len(facts), func(i, j int) { facts[i], facts[j] = facts[j], facts[i] })
				s := told{*newBook(t), map[TraceID][]byte{}}
				for at := 0; at < len(facts); {
					at = min(len(facts), at+1+random.IntN(len(facts)))
					s.settle(facts[:at])
				}
				verdicts, foreign := judge.Judge(judge.Rows(s.events), &c.Expect)
				if !verdicts[0].Exact() || len(foreign) > 0 {
					t.Fatalf("seed %d: %s\nforeign: %v", seed, verdicts[0], foreign)
				}
			}
		})
	}
}
