package dedupeprocessor

import (
	"math"

	"github.com/usagebox/otelcol-usagebox/internal/idfilter"
)

// filter tells new events from known ones. A new one that it takes for known costs a look at the store, which is far more than all else that is done for it: so a
// second filter, which has the hash the other way round, has to agree, and of thousands of new events one is looked for.
type filter struct{ first, second *idfilter.Filter }

func newFilter() *filter { return &filter{idfilter.New(math.MaxInt), idfilter.New(math.MaxInt)} }

func (f *filter) add(h hash) {
	f.first.Add(h)
	f.second.Add(turned(h))
}

// mayHave is false only when h was never added.
func (f *filter) mayHave(h hash) bool { return f.first.MayHave(h) && f.second.MayHave(turned(h)) }

// reader reads what was added before it was made.
func (f *filter) reader() *filter { return &filter{f.first.Copy(), f.second.Copy()} }

// turned is h with its halves exchanged: the bits that choose a place in one filter choose what is set there in the other.
func turned(h hash) (t hash) {
	copy(t[:8], h[8:])
	copy(t[8:], h[:8])
	return t
}
