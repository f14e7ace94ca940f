package attribution

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
)

// Tally is what a decision adds to metrics.
type Tally struct {
	Calls         map[string]int // by dialect
	Doubles       int
	Wrappers      int
	Aggregates    int
	UsageMissing  int
	Unattributed  int
	Unknown       int
	Sampled       int
	Invalid       int
	Failed        int
	WrapperExcess int64 // tokens by which wrappers and the calls below them disagree
}

// Since is what a decision adds to metrics when an earlier one of the same trace was counted, and what is counted with it. A metric can't take anything back:
// of each number the highest counts.
func (t *Tally) Since(counted Tally) (more, all Tally) {
	all = counted
	all.Calls = maps.Clone(counted.Calls)
	for dialect, n := range t.Calls {
		if rest := n - counted.Calls[dialect]; rest > 0 {
			if more.Calls == nil {
				more.Calls = map[string]int{}
			}
			if all.Calls == nil {
				all.Calls = map[string]int{}
			}
			more.Calls[dialect], all.Calls[dialect] = rest, n
		}
	}
	now, added, sums := t.numbers(), more.numbers(), all.numbers()
	for i, n := range now {
		if rest := *n - *sums[i]; rest > 0 {
			*added[i], *sums[i] = rest, *n
		}
	}
	if rest := t.WrapperExcess - counted.WrapperExcess; rest > 0 {
		more.WrapperExcess, all.WrapperExcess = rest, t.WrapperExcess
	}
	return more, all
}

// Add adds another trace's.
func (t *Tally) Add(o *Tally) {
	for dialect, n := range o.Calls {
		if t.Calls == nil {
			t.Calls = map[string]int{}
		}
		t.Calls[dialect] += n
	}
	others := o.numbers()
	for i, n := range t.numbers() {
		*n += *others[i]
	}
	t.WrapperExcess += o.WrapperExcess
}

func (t *Tally) numbers() [9]*int {
	return [...]*int{&t.Doubles, &t.Wrappers, &t.Aggregates, &t.UsageMissing, &t.Unattributed, &t.Unknown, &t.Sampled, &t.Invalid, &t.Failed}
}

// AppendBinary writes a tally: which numbers are not zero, as bits, and those; then the number of dialects, and each with its calls. A tally of nothing is no
// bytes at all.
func (t *Tally) AppendBinary(b []byte) []byte {
	var mask uint64
	numbers := t.numbers()
	for i, n := range numbers {
		if *n != 0 {
			mask |= 1 << i
		}
	}
	if t.WrapperExcess != 0 {
		mask |= 1 << len(numbers)
	}
	if mask == 0 && len(t.Calls) == 0 {
		return b
	}
	b = binary.AppendUvarint(b, mask)
	for _, n := range numbers {
		if *n != 0 {
			b = binary.AppendUvarint(b, uint64(*n))
		}
	}
	if t.WrapperExcess != 0 {
		b = binary.AppendUvarint(b, uint64(t.WrapperExcess))
	}
	b = binary.AppendUvarint(b, uint64(len(t.Calls)))
	for _, dialect := range slices.Sorted(maps.Keys(t.Calls)) {
		b = appendText(b, dialect)
		b = binary.AppendUvarint(b, uint64(t.Calls[dialect]))
	}
	return b
}

// DecodeTally reads what AppendBinary wrote. The error wraps ErrCorrupt.
func DecodeTally(b []byte) (t Tally, err error) {
	if len(b) == 0 {
		return t, nil
	}
	r := reader{s: string(b)}
	mask := r.uvarint()
	numbers := t.numbers()
	for i, n := range numbers {
		if mask&(1<<i) != 0 {
			*n = int(r.uvarint() & (1<<62 - 1))
		}
	}
	if mask&(1<<len(numbers)) != 0 {
		t.WrapperExcess = int64(r.uvarint() & (1<<62 - 1))
	}
	if n := r.count(2); n > 0 {
		t.Calls = make(map[string]int, n)
		for range n {
			dialect := r.text()
			t.Calls[dialect] = int(r.uvarint() & (1<<62 - 1))
		}
	}
	if r.bad || r.s != "" {
		return Tally{}, fmt.Errorf("%w: a tally", ErrCorrupt)
	}
	return t, nil
}
