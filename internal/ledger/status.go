package ledger

import (
	"cmp"
	"encoding/json"
	"maps"
	"slices"
	"time"
)

// StatusVersion is that of the directory's form as this program writes it. Who finds a higher one doesn't know what the files mean.
const StatusVersion = 1

// Status is what state/writer=W/status.json says of a ledger that is in use, for those who can't open its store. It is written after
// every round of maintenance that changed it.
type Status struct {
	Version     int          `json:"v"` // StatusVersion
	Writer      string       `json:"writer"`
	At          string       `json:"at"` // RFC 3339
	Chain       StatusChain  `json:"chain"`
	Waiting     int64        `json:"waiting_corrections"`
	Waits       []StatusWait `json:"waiting,omitempty"` // some of them, at most statusWaits
	OpenEvents  int64        `json:"open_events"`
	OpenBytes   int64        `json:"open_bytes"`
	StoreBytes  int64        `json:"store_bytes"`
	Hours       []StatusHour `json:"hours"`                  // those that have events which are not sealed
	Days        int          `json:"days_waiting"`           // that have sealed parts which are in no daily part
	WaitingDays []string     `json:"waiting_days,omitempty"` // some of them, the oldest first, at most statusDays
	NextEvent   uint64       `json:"next_event"`
	LastChange  uint64       `json:"last_change"`
	NoExchange  bool         `json:"no_exchange,omitempty"` // the file system can't exchange folders: parts stay as they are
	SealSeconds int64        `json:"seal_after_s"`
}

// StatusChain is the end of the chain.
type StatusChain struct {
	Records uint64 `json:"records"`
	Head    string `json:"head"` // SHA-256 of the last line
}

// StatusHour is one open hour.
type StatusHour struct {
	Hour     string   `json:"hour"` // RFC 3339
	Open     int64    `json:"open_events"`
	Sealed   int64    `json:"sealed_events"`
	Late     bool     `json:"late"`       // it was sealed once
	SealDue  string   `json:"seal_due"`   // RFC 3339
	Parts    []string `json:"parts"`      // that are done
	InStore  bool     `json:"in_store"`   // there are events in no part yet
	Unsealed []string `json:"unfinished"` // parts that are being made
}

// StatusWait is one correction that waits for what it corrects.
type StatusWait struct {
	EventID  string `json:"event_id"`
	Customer string `json:"customer"`
	Corrects string `json:"corrects"`
	Since    string `json:"since"` // RFC 3339
}

// statusWaits is how many waiting corrections a status names.
const statusWaits = 1000

// statusDays is how many days a status names.
const statusDays = 31

// StatusNow is the present status.
func (l *Ledger) StatusNow() (Status, error) {
	st, err := l.statusOfState()
	if err != nil || st.Waiting == 0 {
		return st, err
	}
	err = l.read(func(s *state) error {
		return unlessStopped(s.scanKind(keyWaiting, func(key, value []byte) error {
			if len(st.Waits) == statusWaits {
				return ErrStop
			}
			w, err := decodeWaiting(key, value)
			if err != nil {
				return err
			}
			e := w.item.event
			st.Waits = append(st.Waits, StatusWait{e.ID, e.Customer, e.Corrects, w.item.ingestedAt.Time().UTC().Format(time.RFC3339)})
			return nil
		}))
	})
	return st, err
}

func (l *Ledger) statusOfState() (Status, error) {
	st := Status{Version: StatusVersion, Writer: l.o.WriterID, At: l.o.Clock().UTC().Format(time.RFC3339), SealSeconds: int64(l.o.SealAfter / time.Second)}
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.state
	if s == nil {
		return st, ErrBroken
	}
	st.Chain = StatusChain{s.chain.Records, s.chain.Hash}
	st.Waiting, st.OpenEvents, st.OpenBytes = s.waiting, s.openEvents, s.openBytes
	st.StoreBytes = s.storeBytes
	st.NextEvent, st.LastChange, st.NoExchange = s.next, s.change, l.noExchange
	st.Hours = make([]StatusHour, 0, len(s.hours))
	for _, h := range s.hours {
		if !h.idle() {
			st.Hours = append(st.Hours, l.statusHour(h))
		}
	}
	st.Days = len(s.days.waiting)
	for _, day := range slices.Sorted(maps.Keys(s.days.waiting))[:min(st.Days, statusDays)] {
		st.WaitingDays = append(st.WaitingDays, dayDate(day))
	}
	slices.SortFunc(st.Hours, func(a, b StatusHour) int { return cmp.Compare(a.Hour, b.Hour) })
	return st, nil
}

func (l *Ledger) statusHour(h *hour) StatusHour {
	sh := StatusHour{
		Hour: h.Start().Time().Format(time.RFC3339), Open: h.openEvents(), Sealed: h.SealedEvents, Late: h.Sealed,
		SealDue: l.sealDue(h, l.now()).Time().Format(time.RFC3339), InStore: h.pending(), Parts: make([]string, 0, len(h.parts)),
	}
	for i := range h.parts {
		sh.Parts = append(sh.Parts, h.parts[i].Name)
	}
	if h.plan != nil {
		sh.Unsealed = append(sh.Unsealed, h.plan.Name)
	}
	if h.seal != nil {
		sh.Unsealed = append(sh.Unsealed, h.seal.Name)
	}
	return sh
}

// writeStatus writes status.json anew. A crash may leave the one before.
func (l *Ledger) writeStatus() error {
	st, err := l.StatusNow()
	if err != nil {
		return err
	}
	same := st
	same.At, same.StoreBytes = "", 0
	text, err := json.Marshal(same)
	if err != nil || string(text) == l.lastStatus {
		return err
	}
	full, err := json.MarshalIndent(st, "", "  ")
	if err != nil {
		return err
	}
	if err := l.replaceFile(l.paths.status(), append(full, '\n')); err != nil {
		return err
	}
	l.lastStatus = string(text)
	return nil
}
