package attribution

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"slices"

	"github.com/zeebo/xxh3"

	"github.com/usagebox/otelcol-usagebox/usage"
)

// Topic is what traces tell each other of: a conversation, a response, a service's calls on another signal. It is a hash of it.
type Topic [16]byte

// NoteKind is what a note is about.
type NoteKind uint8

const (
	NoteConversation NoteKind = iota // whose a conversation is, as one trace says it
	NoteResponse                     // a call with a response id, which another instrumentation may tell of in a trace of its own
	NoteSignal                       // a call or tool call of a service, which it may tell of on another signal
)

// Note is what a trace tells others. It is all that they see of it, but for spans that they link to.
type Note struct {
	Place
	Topic      Topic
	Kind       NoteKind
	Sub        uint64 // notes of one Sub say the same of a conversation, and are never one call
	Start, End usage.Micros
	Value      []byte
}

// Others tells what is known of other traces.
type Others interface {
	// Span tells of a span that is linked to; ok is false for what is not known (yet).
	Span(Place) (l Linked, ok bool)
	// Claims are the values of a conversation's notes, one of each Sub, but for those of one trace; ok is false when there are too many to be of one conversation.
	Claims(t Topic, but TraceID) (values [][]byte, ok bool)
	// Calls are notes of calls that lie in a time, at least in part, but for those of one trace; nil when all are of one Sub.
	Calls(t Topic, sub uint64, from, to usage.Micros, but TraceID) []Note
}

// Nobody is when no other trace is known.
type Nobody struct{}

// Span knows none.
func (Nobody) Span(Place) (Linked, bool) { return Linked{}, false }

// Claims knows none.
func (Nobody) Claims(Topic, TraceID) ([][]byte, bool) { return nil, true }

// Calls knows none.
func (Nobody) Calls(Topic, uint64, usage.Micros, usage.Micros, TraceID) []Note { return nil }

// MaxClaims is how many different things may be said of one conversation.
const MaxClaims = 64

func topic(what string, texts ...string) (t Topic) {
	b := appendText(nil, what)
	for _, s := range texts {
		b = appendText(b, s)
	}
	sum := sha256.Sum256(b)
	copy(t[:], sum[:])
	return t
}

func number(n int64) string { return string(binary.AppendVarint(nil, n)) }

// Compare orders notes of a trace.
func (n *Note) Compare(m *Note) int {
	return cmp.Or(bytes.Compare(n.Topic[:], m.Topic[:]), cmp.Compare(n.Sub, m.Sub), cmp.Compare(n.End, m.End), bytes.Compare(n.Trace[:], m.Trace[:]), bytes.Compare(n.Span[:], m.Span[:]))
}

// Digest is of all that others see in a note beside its key.
func (n *Note) Digest() uint64 {
	return xxh3.Hash(append(binary.AppendVarint(nil, int64(n.Start)), n.Value...))
}

// maxComponent is how many notes may be of calls at one time; of more, nobody can tell which are one, and none is.
const maxComponent = 64

// component is the notes of calls that must be looked at together with one: what overlaps with it in time, with that again, and so on. find gives those in a
// time. ok is false when there are more than limit.
func component(n *Note, limit int, find func(from, to usage.Micros) []Note) (found []Note, ok bool) {
	from, to := n.Start, n.End
	for {
		found = find(from, to)
		if len(found) > limit {
			return nil, false
		}
		wider := false
		for i := range found {
			if found[i].Start < from || found[i].End > to {
				from, to, wider = min(from, found[i].Start), max(to, found[i].End), true
			}
		}
		if !wider {
			return found, true
		}
	}
}

// Affected is the notes whose traces may be decided otherwise when one comes or goes: none when they were, and are, too many to tell.
func Affected(n *Note, find func(from, to usage.Micros) []Note) []Note {
	found, _ := component(n, 2*maxComponent+1, find) // it may join two
	return found
}

// News says whether the values of a conversation are others with a note than without it, where all else that is said of it is others.
func News(n *Note, others [][]byte, ok bool) bool {
	switch {
	case !ok:
		return false
	case len(others) >= MaxClaims-1:
		return true
	}
	var before []claim
	for _, b := range others {
		before = append(before, decodeClaims(b)...)
	}
	mine := decodeClaims(n.Value)
	after := append(slices.Clone(before), mine...)
	for _, c := range mine {
		if one(before, c.dimension) != one(after, c.dimension) {
			return true
		}
	}
	return false
}

// claim is what a trace says of a conversation.
type claim struct {
	dimension string
	value     string
	weak      bool // by its resource alone
}

func (c claim) compare(d claim) int {
	return cmp.Or(truth(c.weak, d.weak), cmp.Compare(c.dimension, d.dimension), cmp.Compare(c.value, d.value))
}

func appendClaims(claims []claim) (b []byte) {
	for _, c := range claims {
		b = append(b, byte(truth(c.weak, false)))
		b = appendText(b, c.dimension)
		b = appendText(b, c.value)
	}
	return b
}

func decodeClaims(b []byte) (claims []claim) {
	r := reader{s: string(b)}
	for r.s != "" {
		c := claim{weak: r.byte() != 0, dimension: r.text(), value: r.text()}
		if r.bad {
			return claims
		}
		claims = append(claims, c)
	}
	return claims
}

// one is the one value of a dimension: of what spans say, and where none says any, of what resources say.
func one(claims []claim, dimension string) string {
	for _, weak := range [...]bool{false, true} {
		value, several := "", false
		for _, c := range claims {
			if c.dimension == dimension && c.weak == weak {
				several = several || value != "" && value != c.value
				value = c.value
			}
		}
		switch {
		case several:
			return ""
		case value != "":
			return value
		}
	}
	return ""
}

func unique(claims []claim) []claim {
	slices.SortFunc(claims, claim.compare)
	return slices.Compact(claims)
}
