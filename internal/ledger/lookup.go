package ledger

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/usagebox/otelcol-usagebox/internal/ledger/parquetfile"
	"github.com/usagebox/otelcol-usagebox/usage"
)

// readEvent is the event that the store knows to be at k: in its chunk, or, when its hour is sealed, in the sealed part that has its
// number, where the bloom filter and the page index lead to its rows.
func (l *Ledger) readEvent(s *state, k known, key usage.Key) (*usage.Event, error) {
	e, err := s.readOpen(k)
	if err != nil {
		return nil, err
	}
	if e == nil {
		if e, err = l.readSealed(s, k, key); err != nil {
			return nil, err
		}
	}
	if e.Key() != key {
		return nil, corrupt("the store", fmt.Errorf("event %q of customer %q is where event %q of customer %q is said to be", e.ID, e.Customer, key.ID, key.Customer))
	}
	return e, nil
}

// readOpen is the event at k when it is in the store, nil when it is not.
func (s *state) readOpen(k known) (e *usage.Event, err error) {
	it, err := s.store.db.NewIter(&pebble.IterOptions{
		LowerBound: hourKey(keyChunk, k.Hour), UpperBound: hourSeqKey(keyChunk, k.Hour, k.Seq+1),
	})
	if err != nil {
		return nil, s.store.readError(err)
	}
	defer func() { err = closeAfter(it, err) }()
	if !it.Last() {
		if err := it.Error(); err != nil {
			return nil, s.store.readError(err)
		}
		return nil, nil
	}
	value, err := it.ValueAndErr()
	if err != nil {
		return nil, s.store.readError(err)
	}
	events, err := splitChunk(nil, value)
	if err != nil {
		return nil, err
	}
	i := k.Seq - seqOf(it.Key())
	if i >= uint64(len(events)) {
		return nil, nil
	}
	e = new(usage.Event)
	return e, events[i].decode(e)
}

func (l *Ledger) readSealed(s *state, k known, key usage.Key) (*usage.Event, error) {
	file, path, err := l.openSealed(s, k)
	if err != nil {
		return nil, fmt.Errorf("read event %q of customer %q: %w", key.ID, key.Customer, err)
	}
	e, err := lookupIn(file, key)
	if err = closeAfter(file, err); err != nil {
		return nil, fmt.Errorf("read event %q of customer %q from %s: %w", key.ID, key.Customer, path, err)
	}
	return e, nil
}

// openSealed opens the sealed part that has the event at k. Late parts may be merged at the same time: then it is under the name of one that is
// there, that is planned, or, when that was recorded meanwhile, that is there by now.
func (l *Ledger) openSealed(s *state, k known) (file vfs.File, path string, err error) {
	const attempts = 3 // a merge takes far longer than one
	for range attempts {
		var seal *sealed
		if seal, err = s.lastSealed(k.Hour, k.Seq); err != nil {
			return nil, "", err
		}
		if seal == nil || !seal.Done || k.Seq >= seal.To {
			return nil, "", corrupt("the store", fmt.Errorf("its number %d of %s is neither open nor sealed", k.Seq, hourText(k.Hour)))
		}
		if seal.Left&leftEvents != 0 {
			return nil, "", errLeft
		}
		path = l.paths.part(treeEvents, k.Hour, seal.Name)
		if file, err = l.o.FS.Open(path, vfs.RandomReadsOption); !errors.Is(err, fs.ErrNotExist) {
			return file, path, err
		}
		var m lateMerge
		if found, planErr := s.store.getJSON(hourKey(keyMerge, k.Hour), &m); planErr != nil {
			return nil, "", planErr
		} else if !found || k.Seq < m.From || k.Seq >= m.To {
			continue
		}
		path = l.paths.part(treeEvents, k.Hour, m.Name)
		if file, err = l.o.FS.Open(path, vfs.RandomReadsOption); !errors.Is(err, fs.ErrNotExist) {
			return file, path, err
		}
	}
	return nil, path, err
}

func lookupIn(file vfs.File, key usage.Key) (*usage.Event, error) {
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	events, err := parquetfile.OpenEvents(file, info.Size())
	if err != nil {
		return nil, err
	}
	e := new(usage.Event)
	found, err := events.Lookup(key, e)
	if err == nil && !found {
		err = errors.New("it is not there")
	}
	return e, err
}
