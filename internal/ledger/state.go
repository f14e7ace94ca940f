package ledger

import (
	"errors"
	"fmt"
	"math"

	"github.com/cockroachdb/pebble/v2"
	"go.uber.org/zap"

	"github.com/usagebox/otelcol-usagebox/usage"
)

// state is one opening of the store and what is remembered of it: the hours that have events which are not sealed.
// Its fields are guarded by Ledger.mu, except store. Only the committer changes next, refused, waiting and hour.hourRecord; only the
// holder of Ledger.maintenance changes the rest.
type state struct {
	store   *store
	witness *witness // used by the committer alone
	ids     ids

	next     uint64 // number of the next event; the first is 1
	refused  uint64 // number of the next refusal
	change   uint64 // number of the last change of an hour's totals
	waiting  int64  // corrections whose target is unknown
	lastWait uint64 // the order of the last of them

	storeBytes int64 // on disk, as far as it is known
	chain      chainHead

	hours      map[usage.Hour]*hour
	openEvents int64
	openBytes  int64

	refusedPlan *refusedPart // begun, not done
	merge       *lateMerge   // begun, not done
	leaving     *leaving     // begun, not done
	days        days

	leaveFrom [leavingDaily]usage.Hour // everything that was sealed of the hours before has left, by tree
}

// hour is an hour with its records, parts and what is being made of it.
type hour struct {
	usage.Hour
	hourRecord
	flushedRecord
	parts []part  // done, not sealed, in order
	plan  *part   // begun, not done
	seal  *sealed // begun, not done
}

// hourRecord is the committer's record of an hour.
type hourRecord struct {
	Events int64  `json:"events"` // that ever came
	Bytes  int64  `json:"bytes"`  // of them, encoded
	Last   uint64 `json:"last"`   // the number after its last event's

	Corrected uint64 `json:"corrected,omitempty"` // the number of its last correction or retraction
}

// flushedRecord is the maintainer's record of an hour.
type flushedRecord struct {
	To           uint64 `json:"to"` // its events with lower numbers are in parts
	SealedEvents int64  `json:"sealed_events"`
	SealedBytes  int64  `json:"sealed_bytes"`
	Sealed       bool   `json:"sealed"` // once all of the hour that had come by its time; what comes now is late
	Change       uint64 `json:"change"` // when its totals changed last
}

func (h *hour) openEvents() int64 { return h.Events - h.SealedEvents }
func (h *hour) pending() bool     { return h.Last > h.To }
func (h *hour) idle() bool {
	return h.openEvents() == 0 && !h.pending() && h.plan == nil && h.seal == nil && len(h.parts) == 0
}

// checkDirectory makes the writer's state, or finds it there.
func (l *Ledger) checkDirectory() error {
	p := l.paths
	err := p.makeRoot()
	if err == nil {
		err = p.makeFolder(p.state())
	}
	if err != nil {
		return fmt.Errorf("the ledger's directory %s can't be used: %w", p.dir, err)
	}
	there, err := p.exists(p.store())
	if err != nil {
		return fmt.Errorf("the ledger's store %s can't be used: %w", p.store(), err)
	}
	if there {
		return nil
	}
	if lost, err := l.findParts(); err != nil {
		return err
	} else if lost != "" {
		return fmt.Errorf("the state of writer %q is missing from %s, but %s is its part: which ids are known would be forgotten. Bring the state back, or set another writer_id",
			p.writer, p.state(), lost)
	}
	if err := p.makeFolder(p.store()); err != nil {
		return fmt.Errorf("the ledger's store %s can't be made: %w", p.store(), err)
	}
	return nil
}

// findParts looks for a part of this writer.
func (l *Ledger) findParts() (string, error) {
	p := l.paths
	root := p.join(p.dir, treeEvents)
	dates, err := p.list(root, "")
	if err != nil {
		return "", err
	}
	for _, date := range dates {
		hours, err := p.list(p.join(root, date), "")
		if err != nil {
			continue // not a folder
		}
		for _, hour := range hours {
			folder := p.join(root, date, hour, "writer="+p.writer)
			if parts, err := p.list(folder, extension); err == nil && len(parts) > 0 {
				return p.join(folder, parts[0]), nil
			}
		}
	}
	return "", nil
}

// openState opens the store, reads what is open, and finishes what was begun.
func (l *Ledger) openState() (*state, error) {
	store, err := openStore(l.paths.store(), l.caches, &l.o)
	if err != nil {
		return nil, err
	}
	s := &state{store: store, hours: make(map[usage.Hour]*hour)}
	if err := l.loadState(s); err != nil {
		return nil, errors.Join(err, s.close())
	}
	if err := l.checkChainFile(s); err != nil {
		// Nothing is read from it, and what it proves is in the store as well.
		l.o.Logger.Error("the chain's file can't be vouched for", zap.Error(err))
	}
	if err := l.loadIDs(s); err != nil {
		return nil, errors.Join(err, s.close())
	}
	err = l.finish(s)
	if err == nil {
		err = l.finishLateMerge(s)
	}
	if err == nil {
		err = l.finishDaily(s)
	}
	if err != nil {
		if store.failure() != nil {
			return nil, errors.Join(err, s.close())
		}
		// The store is sound: events can be taken, and the maintainer tries again.
		l.o.Logger.Warn("what was begun before the start could not be finished: it is tried again", zap.Error(err))
		return s, nil
	}
	if err := l.o.FS.RemoveAll(l.paths.stage()); err != nil {
		l.o.Logger.Warn("what an earlier seal left could not be removed from "+l.paths.stage(), zap.Error(err))
	}
	return s, nil
}

func (l *Ledger) loadState(s *state) error {
	if err := s.checkVersion(); err != nil {
		return err
	}
	var err error
	if s.next, err = s.store.getNumber(metaNext); err != nil {
		return err
	}
	if s.refused, err = s.store.getNumber(metaRefused); err != nil {
		return err
	}
	if s.change, err = s.store.getNumber(metaChange); err != nil {
		return err
	}
	s.next = max(s.next, 1)
	if err := l.checkWitness(s); err != nil {
		return err
	}
	s.refused = max(s.refused, 1)
	if err := s.loadHours(); err != nil {
		return err
	}
	if err := s.scanKind(keyWaiting, func(_, value []byte) error {
		order, _ := waitingOrder(value)
		s.waiting++
		s.lastWait = max(s.lastWait, order)
		return nil
	}); err != nil {
		return err
	}
	if err := s.scanKind(keyRefused, func(key, value []byte) error {
		s.refusedPlan = new(refusedPart)
		return decodeJSON(key, value, s.refusedPlan)
	}); err != nil {
		return err
	}
	if err := s.scanKind(keyMerge, func(key, value []byte) error {
		s.merge = new(lateMerge)
		return decodeJSON(key, value, s.merge)
	}); err != nil {
		return err
	}
	if err := s.scanKind(keyLeaving, func(key, value []byte) error {
		s.leaving = new(leaving)
		return decodeJSON(key, value, s.leaving)
	}); err != nil {
		return err
	}
	if err := s.loadDays(); err != nil {
		return err
	}
	return s.loadChain()
}

func (s *state) checkVersion() error {
	version, err := s.store.getNumber(metaVersion)
	if err != nil {
		return err
	}
	if version > stateVersion {
		return fmt.Errorf("the ledger's state has version %d, this program reads %d: run the newer program that wrote it", version, stateVersion)
	}
	if version >= oldestVersion { // see migrateIDs
		return nil
	}
	if version > 0 {
		return fmt.Errorf("the ledger's state has version %d, this program reads %d: run the program that wrote it until its hours are sealed, and set another writer_id here", version, stateVersion)
	}
	return s.update(func(b *pebble.Batch) error { return setNumber(b, metaVersion, stateVersion) })
}

// loadHours reads the records of all hours and keeps those that are not idle.
func (s *state) loadHours() error {
	if err := s.scanKind(keyHour, func(key, value []byte) error {
		h := &hour{Hour: hourOf(key)}
		s.hours[h.Hour] = h
		return decodeJSON(key, value, &h.hourRecord)
	}); err != nil {
		return err
	}
	if err := s.scanKind(keyFlushed, func(key, value []byte) error {
		h, err := s.loaded(key)
		if err != nil {
			return err
		}
		return decodeJSON(key, value, &h.flushedRecord)
	}); err != nil {
		return err
	}
	if err := s.scanKind(keyPart, func(key, value []byte) error {
		h, err := s.loaded(key)
		if err != nil {
			return err
		}
		var p part
		if err := decodeJSON(key, value, &p); err != nil {
			return err
		}
		if p.Done {
			h.parts = append(h.parts, p)
		} else {
			h.plan = &p
		}
		return nil
	}); err != nil {
		return err
	}
	if err := s.loadSeals(); err != nil {
		return err
	}
	for _, h := range s.hours {
		s.openEvents += h.openEvents()
		s.openBytes += h.Bytes - h.SealedBytes
		if h.idle() {
			delete(s.hours, h.Hour)
		}
	}
	return nil
}

// loadSeals finds the seals that were begun and not done: at most one, the last of its hour.
func (s *state) loadSeals() error {
	for _, h := range s.hours {
		if h.openEvents() == 0 {
			continue
		}
		last, err := s.lastSealed(h.Hour, math.MaxUint64)
		if err != nil {
			return err
		}
		if last != nil && !last.Done {
			h.seal = last
		}
	}
	return nil
}

func (s *state) loaded(key []byte) (*hour, error) {
	h := s.hours[hourOf(key)]
	if h == nil {
		return nil, corrupt(fmt.Sprintf("the store's record %q", key), errors.New("its hour has no events"))
	}
	return h, nil
}

func (s *state) scanKind(kind byte, f func(key, value []byte) error) error {
	return s.store.scan([]byte{kind}, []byte{kind + 1}, f)
}

// lookupHour is the hour as the store has it, new when it is not there.
func (s *state) lookupHour(h usage.Hour) (*hour, error) {
	found := &hour{Hour: h}
	if _, err := s.store.getJSON(hourKey(keyHour, h), &found.hourRecord); err != nil {
		return nil, err
	}
	_, err := s.store.getJSON(hourKey(keyFlushed, h), &found.flushedRecord)
	return found, err
}
