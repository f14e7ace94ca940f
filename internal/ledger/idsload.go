package ledger

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/cockroachdb/pebble/v2"

	"github.com/usagebox/otelcol-usagebox/internal/ledger/idtable"
	"github.com/usagebox/otelcol-usagebox/usage"
)

func usageHour(h uint32) usage.Hour { return usage.Hour(h) }

// loadIDs opens the tables of ids and reads what came after them: from the chunks that have it, and from the records of what chunks don't say.
func (l *Ledger) loadIDs(s *state) error {
	if err := l.paths.makeFolder(l.paths.ids()); err != nil {
		return fmt.Errorf("the folder of known ids can't be used: %w", err)
	}
	names, err := l.paths.list(l.paths.ids(), "")
	if err != nil {
		return err
	}
	for _, name := range names {
		l.idNumbers.above(numberOf(name))
	}
	if err := s.migrateIDs(l); err != nil {
		return err
	}
	x := &s.ids
	if x.inTables, err = s.store.getNumber(metaIDs); err != nil {
		return err
	}
	used := make(map[string]bool)
	if err := s.scanKind(keyTable, func(key, value []byte) error {
		t := &idTable{position: binary.BigEndian.Uint64(key[1:])}
		if err := decodeJSON(key, value, &t.idTableRecord); err != nil {
			return err
		}
		l.idNumbers.above(t.position)
		used[idFile(t.File)] = true
		return l.openTable(x, t)
	}); err != nil {
		return err
	}
	for _, name := range names {
		if used[name] || !strings.HasSuffix(strings.TrimSuffix(name, temporary), idExtension) {
			continue
		}
		if err := l.o.FS.Remove(l.paths.join(l.paths.ids(), name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove %s, which a crash has left: %w", name, err)
		}
	}
	if err := l.shareFilters(x); err != nil {
		return err
	}
	return l.loadNewest(s)
}

func (l *Ledger) openTable(x *ids, t *idTable) (err error) {
	path := l.paths.idTable(t.File)
	if t.Table, err = idtable.Open(l.o.FS, path); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return corrupt("the folder of known ids", fmt.Errorf("%s is missing", path))
		}
		return t.readError(err)
	}
	x.tables = append(x.tables, t)
	if t.Records() != t.IDs {
		return corrupt(path, fmt.Errorf("it has %d ids, the store says %d", t.Records(), t.IDs))
	}
	return nil
}

// loadNewest reads the ids that are in no table.
func (l *Ledger) loadNewest(s *state) error {
	type pending struct {
		digest digest
		known  known
	}
	var records []pending
	if err := s.scanKind(keyPending, func(key, value []byte) error {
		d, generation, err := takePendingKey(key)
		if err != nil {
			return err
		}
		k, err := decodeKnown(value)
		l.idNumbers.above(generation)
		records = append(records, pending{d, k})
		return err
	}); err != nil {
		return err
	}
	newest := newNewest(l.idNumbers.next(), 0)
	for _, r := range records {
		newest.put(r.digest, r.known) // the last one of an id is in force
	}
	for _, h := range s.hours {
		if err := s.idsOfChunks(h, newest); err != nil {
			return err
		}
	}
	s.ids.newest = newest
	return nil
}

// idsOfChunks adds the ids of an hour's usage that is in no table.
func (s *state) idsOfChunks(h *hour, newest *newestIDs) error {
	if h.Last <= s.ids.inTables {
		return nil
	}
	var events []stored
	var e usage.Event
	return s.store.scan(hourSeqKey(keyChunk, h.Hour, s.ids.inTables), prefixEnd(hourKey(keyChunk, h.Hour)), func(key, value []byte) (err error) {
		if events, err = splitChunk(events[:0], value); err != nil {
			return err
		}
		for i := range events {
			if err := events[i].decodeShared(&e); err != nil {
				return err
			}
			if e.Kind != usage.KindUsage {
				continue // it was changed by its target: what was sent is in a record
			}
			payload := e.Payload()
			newest.put(digestOf(e.Key()), known{Hour: h.Hour, Payload: [8]byte(payload[:8]), Seq: seqOf(key) + uint64(i)})
		}
		return nil
	})
}

// pendingKey is the key of what chunks don't say of an id that is in no table.
func pendingKey(generation uint64, d digest) []byte {
	return append(numberKey(keyPending, generation), d[:]...)
}

func takePendingKey(key []byte) (d digest, generation uint64, err error) {
	if len(key) != 1+8+len(d) {
		return d, 0, corrupt("the key of an id's record", fmt.Errorf("it has %d bytes", len(key)))
	}
	return digest(key[9:]), binary.BigEndian.Uint64(key[1:]), nil
}

// close ends the use of the tables.
func (x *ids) close() (err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.closed = true
	for _, t := range x.tables {
		err = errors.Join(err, t.Close())
	}
	x.tables = nil
	return err
}

// migrateIDs brings a store of an earlier version to this one. Of version 2, which has ids itself, it makes a table of them. Version 3 has tables of the version before (see
// idtable), which are read as they are; version 4 has no daily parts, which are made as if their days had just ended. With the number, programs that don't know them refuse the store.
func (s *state) migrateIDs(l *Ledger) error {
	version, err := s.store.getNumber(metaVersion)
	if err != nil || version == stateVersion {
		return err
	}
	if version > oldestVersion {
		return s.update(func(b *pebble.Batch) error { return setNumber(b, metaVersion, stateVersion) })
	}
	var first []byte
	if err := s.scanKind(keyOldID, func(key, _ []byte) error {
		first = key
		return errEnough
	}); err != nil && !errors.Is(err, errEnough) {
		return err
	}
	var table *idTable
	if first != nil {
		if table, err = l.makeTable(l.idNumbers.next(), int64(s.next)+s.waiting, func(w *idtable.Writer) error {
			return s.scanKind(keyOldID, func(key, value []byte) error {
				k, err := decodeKnown(value)
				if err == nil && len(key) != 1+len(digest{}) {
					err = corrupt("the key of an event id", fmt.Errorf("it has %d bytes", len(key)))
				}
				if err != nil {
					return err
				}
				return w.Add(&idtable.Record{ID: digest(key[1:]), Payload: k.Payload, Hour: uint32(k.Hour), Seq: k.Seq})
			})
		}); err != nil {
			return fmt.Errorf("make a table of the ids that are known: %w", err)
		}
		if err := table.Close(); err != nil {
			return err
		}
	}
	return s.update(func(b *pebble.Batch) error {
		if table != nil {
			if err := setJSON(b, numberKey(keyTable, table.position), table.idTableRecord); err != nil {
				return err
			}
		}
		if err := b.DeleteRange([]byte{keyOldID}, []byte{keyOldID + 1}, nil); err != nil {
			return err
		}
		if err := setNumber(b, metaIDs, s.next); err != nil {
			return err
		}
		return setNumber(b, metaVersion, stateVersion)
	})
}
