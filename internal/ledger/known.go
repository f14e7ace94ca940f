package ledger

import (
	"bytes"
	"errors"
	"slices"

	"github.com/cockroachdb/pebble/v2"
)

// known is where an event is.
func (s *state) known(d digest) (k known, ok bool, err error) {
	v, closer, err := s.store.db.Get(digestKey(keyID, d))
	if errors.Is(err, pebble.ErrNotFound) {
		return known{}, false, nil
	}
	if err != nil {
		return known{}, false, s.store.readError(err)
	}
	k, err = decodeKnown(v)
	return k, err == nil, closeAfter(closer, err)
}

// lookUp asks the store for the ids of all events that came, in the order of its keys: one pass over its tables, of which most are answered by their filters.
func (g *group) lookUp(requests []*request) (err error) {
	for _, r := range requests {
		for i := range r.items {
			g.digests = append(g.digests, r.items[i].digest)
		}
	}
	if len(g.digests) == 0 {
		return nil
	}
	slices.SortFunc(g.digests, compareDigests)
	g.digests = slices.Compact(g.digests)
	it, err := g.s.store.db.NewIter(&pebble.IterOptions{
		LowerBound: []byte{keyID}, UpperBound: []byte{keyID + 1}, UseL6Filters: g.l.filtersFit(g.s),
	})
	if err != nil {
		return g.s.store.readError(err)
	}
	defer func() { err = closeAfter(it, err) }()
	key := make([]byte, 1+len(digest{}))
	key[0] = keyID
	for i := range g.digests {
		copy(key[1:], g.digests[i][:])
		if !it.SeekPrefixGE(key) {
			if err := it.Error(); err != nil {
				return g.s.store.readError(err)
			}
			continue
		}
		if !bytes.Equal(it.Key(), key) {
			continue
		}
		v, err := it.ValueAndErr()
		if err != nil {
			return g.s.store.readError(err)
		}
		if g.known == nil {
			g.known = make(map[digest]known)
		}
		if g.known[g.digests[i]], err = decodeKnown(v); err != nil {
			return err
		}
	}
	return nil
}

// looked says whether lookUp asked for an id.
func (g *group) looked(d digest) bool {
	_, found := slices.BinarySearchFunc(g.digests, d, compareDigests)
	return found
}

func compareDigests(a, b digest) int { return bytes.Compare(a[:], b[:]) }

// filtersFit says whether the filters of the tables that hold most ids fit into half of the cache. Where they don't, each look would read megabytes of them,
// and a block of a table is read in their place.
func (l *Ledger) filtersFit(s *state) bool {
	const bitsPerByte = 8
	return s.next < uint64(l.o.CacheBytes/2*bitsPerByte/filterBitsPerID)
}
