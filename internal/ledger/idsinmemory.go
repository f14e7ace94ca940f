package ledger

import (
	"errors"
	"sync"
	"sync/atomic"

	"go.uber.org/zap"

	"github.com/usagebox/otelcol-usagebox/internal/idfilter"
)

// idsInMemory says of most ids that they are new without a look at the store. It has every id of the store once it has read them; until then any
// may be known.
type idsInMemory struct {
	whole atomic.Bool

	mu     sync.Mutex // guards what follows: a store's ids are read while others are added
	filter *idfilter.Filter
}

const (
	// readAtOnce is how many ids are read before the ledger is open. More are read beside it.
	readAtOnce = 1 << 20

	readBetweenLooks = 1 << 12 // ids that are read before the reader looks whether the store is over
)

func (x *idsInMemory) add(d digest) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.filter.Add(d)
}

// mayHave is false only when d is not in the store, nor on its way there.
func (x *idsInMemory) mayHave(d digest) bool {
	if !x.whole.Load() {
		return true
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.filter.MayHave(d)
}

var errOver = errors.New("the store is over")

// loadIDs reads the ids of a store that was opened just now. A store whose ids can't be read is asked for each.
func (l *Ledger) loadIDs(s *state) {
	s.ids.filter = idfilter.New(l.o.CacheBytes)
	read := func() {
		n := 0
		err := s.scanKind(keyID, func(key, _ []byte) error {
			if n++; n%readBetweenLooks == 0 && s.store.isOver() {
				return errOver
			}
			if len(key) == 1+len(digest{}) {
				s.ids.add(digest(key[1:]))
			}
			return nil
		})
		switch {
		case err == nil:
			s.ids.whole.Store(true)
		case !errors.Is(err, errOver):
			l.o.Logger.Warn("the ids that are known could not be read into memory: the store is asked for each", zap.Error(err))
		}
	}
	if s.next <= readAtOnce {
		read()
		return
	}
	s.store.beside(read)
}
