package attribution

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/usagebox/otelcol-usagebox/usage"
)

// The form of a fact in stores, version 2: a version byte; ids; start and end as varints; role, traits, rank; the texts in
// their order, each with its length, and with TraitInvalid what was refused; the reported numbers that are there; the two identities; links.
const factVersion = 2

// ErrCorrupt says that bytes are not what AppendBinary writes.
var ErrCorrupt = errors.New("corrupt fact")

func (f *Fact) texts() [12]*string {
	return [12]*string{
		&f.Emitter, &f.Dialect, &f.Name, &f.Operation, &f.Provider, &f.Model, &f.Requested, &f.ResponseID, &f.CallID, &f.Service,
		&f.ReportedCost, &f.CostCurrency,
	}
}

// AppendBinary writes f; DecodeFact gives it back exactly.
func (f *Fact) AppendBinary(b []byte) []byte {
	b = append(b, factVersion)
	b = append(b, f.Trace[:]...)
	b = append(b, f.Span[:]...)
	b = append(b, f.Parent[:]...)
	b = binary.AppendVarint(b, int64(f.Start))
	b = binary.AppendVarint(b, int64(f.End))
	b = append(b, byte(f.Role), f.Rank)
	b = binary.AppendUvarint(b, uint64(f.Traits))
	for _, s := range f.texts() {
		b = appendText(b, *s)
	}
	if f.is(TraitInvalid) {
		b = appendText(b, f.Refused)
	}
	b = binary.AppendUvarint(b, uint64(f.Usage.Has))
	for i := range numFields {
		if f.Usage.has(i) {
			b = binary.AppendVarint(b, f.Usage.N[i])
		}
	}
	b = f.Own.append(b)
	b = f.Resource.append(b)
	b = binary.AppendUvarint(b, uint64(len(f.Links)))
	for _, l := range f.Links {
		b = append(b, l.Trace[:]...)
		b = append(b, l.Span[:]...)
	}
	return b
}

func (id *Identity) append(b []byte) []byte {
	var mask uint64
	for i, s := range id.Slots {
		if s != "" {
			mask |= 1 << i
		}
	}
	b = binary.AppendUvarint(b, mask)
	for _, s := range id.Slots {
		if s != "" {
			b = appendText(b, s)
		}
	}
	b = binary.AppendUvarint(b, uint64(len(id.Extra)))
	for _, d := range id.Extra {
		b = appendText(b, d.Key)
		b = appendText(b, d.Value)
	}
	return b
}

func appendText(b []byte, s string) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}

// DecodeFact reads one fact from the start of b into f and gives what follows it. Nothing in f shares memory with b. The error
// wraps ErrCorrupt.
func DecodeFact(b []byte, f *Fact) (rest []byte, err error) {
	r := reader{s: string(b)}
	if err := r.fact(f); err != nil {
		return nil, err
	}
	return b[len(b)-len(r.s):], nil
}

// DecodeFacts reads all facts of b and adds them to facts. They share memory with each other, none with b. The error wraps ErrCorrupt.
func DecodeFacts(b []byte, facts []Fact) ([]Fact, error) {
	r := reader{s: string(b)}
	for len(r.s) > 0 {
		facts = append(facts, Fact{})
		if err := r.fact(&facts[len(facts)-1]); err != nil {
			return facts[:len(facts)-1], err
		}
	}
	return facts, nil
}

// fact reads into a zero f.
func (r *reader) fact(f *Fact) error {
	if r.byte() != factVersion || r.bad {
		return fmt.Errorf("%w: not of version %d", ErrCorrupt, factVersion)
	}
	*f = Fact{}
	copy(f.Trace[:], r.bytes(16))
	copy(f.Span[:], r.bytes(8))
	copy(f.Parent[:], r.bytes(8))
	f.Start = usage.Micros(r.varint())
	f.End = usage.Micros(r.varint())
	f.Role = Role(r.byte())
	f.Rank = r.byte()
	f.Traits = Trait(r.uvarint())
	for _, s := range f.texts() {
		*s = r.text()
	}
	if f.is(TraitInvalid) {
		f.Refused = r.text()
	}
	f.Usage.Has = uint16(r.uvarint()) & (1<<numFields - 1)
	for i := range numFields {
		if f.Usage.has(i) {
			f.Usage.N[i] = r.varint()
		}
	}
	r.identity(&f.Own)
	r.identity(&f.Resource)
	if n := r.count(24); n > 0 {
		f.Links = make([]Place, n)
		for i := range f.Links {
			copy(f.Links[i].Trace[:], r.bytes(16))
			copy(f.Links[i].Span[:], r.bytes(8))
		}
	}
	if r.bad || f.Role >= numRoles {
		return fmt.Errorf("%w: ends too early or has an unknown role", ErrCorrupt)
	}
	return nil
}

// reader reads until the first thing that is not there; from then on it gives zeros. What it gives shares memory with what it reads.
type reader struct {
	s   string
	bad bool
}

func (r *reader) fail() { r.s, r.bad = "", true }

func (r *reader) bytes(n int) string {
	if len(r.s) < n {
		r.fail()
		return ""
	}
	s := r.s[:n]
	r.s = r.s[n:]
	return s
}

func (r *reader) byte() byte {
	if s := r.bytes(1); s != "" {
		return s[0]
	}
	return 0
}

func (r *reader) varint() int64 {
	v := r.uvarint()
	return int64(v>>1) ^ -int64(v&1)
}

func (r *reader) uvarint() (v uint64) {
	for i := range min(len(r.s), binary.MaxVarintLen64) {
		c := r.s[i]
		if c < 0x80 {
			if i == binary.MaxVarintLen64-1 && c > 1 {
				break // it overflows
			}
			r.s = r.s[i+1:]
			return v | uint64(c)<<(7*i)
		}
		v |= uint64(c&0x7f) << (7 * i)
	}
	r.fail()
	return 0
}

// count reads the length of a list whose entries take at least size bytes each, so that a corrupt one can't ask for much memory.
func (r *reader) count(size int) int {
	n := r.uvarint()
	if n > uint64(len(r.s)/size) {
		r.fail()
		return 0
	}
	return int(n)
}

func (r *reader) text() string { return r.bytes(r.count(1)) }

func (r *reader) identity(id *Identity) {
	mask := r.uvarint()
	for i := range id.Slots {
		if mask&(1<<i) != 0 {
			id.Slots[i] = r.text()
		}
	}
	if n := r.count(2); n > 0 {
		id.Extra = make([]usage.Dimension, n)
		for i := range id.Extra {
			id.Extra[i] = usage.Dimension{Key: r.text(), Value: r.text()}
		}
	}
}
