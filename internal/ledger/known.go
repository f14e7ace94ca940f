package ledger

import (
	"bytes"
	"cmp"
	"encoding/binary"
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

// lookUp finds which of the events that came are known. Most are new, and the ids in memory say so; the store is asked for the others, in the order of its keys:
// one pass over its tables, of which most are answered by their filters.
func (g *group) lookUp(requests []*request) (err error) {
	var digests []digest
	for _, r := range requests {
		for i := range r.items {
			if g.s.ids.mayHave(r.items[i].digest) {
				digests = append(digests, r.items[i].digest)
			}
		}
	}
	if len(digests) == 0 {
		return nil
	}
	slices.SortFunc(digests, compareDigests)
	digests = slices.Compact(digests)
	it, err := g.s.store.db.NewIter(&pebble.IterOptions{
		LowerBound: []byte{keyID}, UpperBound: []byte{keyID + 1}, UseL6Filters: g.l.filtersFit(g.s),
	})
	if err != nil {
		return g.s.store.readError(err)
	}
	defer func() { err = closeAfter(it, err) }()
	key := make([]byte, 1+len(digest{}))
	key[0] = keyID
	for i := range digests {
		copy(key[1:], digests[i][:])
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
		if g.known[digests[i]], err = decodeKnown(v); err != nil {
			return err
		}
	}
	return nil
}

// writeIDs puts what becomes of ids into the batch, in the order in which the store keeps them: neighbours are found from each other.
func (g *group) writeIDs() error {
	digests := make([]digest, 0, len(g.ids))
	for d := range g.ids {
		digests = append(digests, d)
	}
	slices.SortFunc(digests, compareDigests)
	value := make([]byte, 0, 32)
	key := []byte{keyID}
	for _, d := range digests {
		key = append(key[:1], d[:]...)
		c := g.ids[d]
		var err error
		if c.forgotten {
			err = g.batch.Delete(key, nil)
		} else {
			g.s.ids.add(d) // what is not durable after all is looked for in vain
			value = c.known.append(value[:0])
			err = g.batch.Set(key, value, nil)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func compareDigests(a, b digest) int {
	if c := cmp.Compare(binary.BigEndian.Uint64(a[:]), binary.BigEndian.Uint64(b[:])); c != 0 {
		return c
	}
	return cmp.Compare(binary.BigEndian.Uint64(a[8:]), binary.BigEndian.Uint64(b[8:]))
}

// filtersFit says whether the filters of the tables that hold most ids fit into half of the cache. Where they don't, each look would read megabytes of them,
// and a block of a table is read in their place.
func (l *Ledger) filtersFit(s *state) bool {
	const bitsPerByte = 8
	return s.next < uint64(l.o.CacheBytes/2*bitsPerByte/filterBitsPerID)
}
