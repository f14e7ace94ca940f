package feed

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"

	"github.com/usagebox/otelcol-usagebox/internal/decimal"
	"github.com/usagebox/otelcol-usagebox/internal/ledger"
	"github.com/usagebox/otelcol-usagebox/usage"
)

// Books is where the feed reads totals and keeps its own state: a ledger.
type Books interface {
	View(func(ledger.View) error) error
	Update(func(ledger.View, ledger.Batch) error) error
}

// The first byte of a key says what it is about; but for the first two, the receiver's number follows.
const (
	keyFeed     = 'f' // → feedState
	keyReceiver = 'r' // receiver's name → planState
	keyDirty    = 'd' // hour → moment since when it waits to be planned
	keySent     = 's' // hour, group → what its records say so far
	keyCarry    = 'c' // group → carry
	keyOutbox   = 'o' // lane, number → Record
	keyAttempt  = 'a' // lane, number → attempt
	keyLetter   = 'x' // number → Letter
	keyLine     = 'l' // number of a record that needs no call, or firstSentLine and a number that rises → line that is to be written to the receiver's file
	keyFile     = 'n' // name of a file → bytes of it that are surely written
	keyReport   = 'e' // id and reason of a receiver's report of what it found wrong later → when it was taken
	keyParquet  = 'q' // name of a file of lines → conversion
	keyCounts   = 'k' // → counts
	keyQueued   = 'h' // hour → how many of its records planning ever put into the outbox
	keyLeft     = 'i' // hour → how many of its records left the outbox, less those that were put back
)

// feedVersion is the version of the layout. A newer one is refused.
const feedVersion = 1

type feedState struct {
	Version  int    `json:"v"`
	Instance string `json:"instance"` // random: makes ids differ from those of other feeds
}

// planState is what is remembered of a receiver by those who make its records.
type planState struct {
	Number uint16     `json:"number"`
	From   usage.Hour `json:"from"` // hours before it are not sent

	Configured *usage.Hour `json:"configured"` // `from` as it was configured when it last took effect: a replay goes beyond it

	Change   uint64     `json:"change"`    // the last change of the ledger that was seen
	Next     uint64     `json:"next"`      // number of the next record
	Planned  uint64     `json:"planned"`   // records that were made
	Zero     uint64     `json:"zero"`      // of them those that need no call
	LastHour usage.Hour `json:"last_hour"` // the latest with records
	ByHour   bool       `json:"by_hour"`   // records in the outbox are counted by hour
	Mappings []epoch    `json:"mappings"`
}

// epoch is a mapping and the first hour that it is for.
type epoch struct {
	From    usage.Hour `json:"from"`
	Mapping Mapping    `json:"mapping"`
}

// mapping is what an hour's records are made by.
func (p *planState) mapping(h usage.Hour) *Mapping {
	for i := len(p.Mappings) - 1; i > 0; i-- {
		if h >= p.Mappings[i].From {
			return &p.Mappings[i].Mapping
		}
	}
	return &p.Mappings[0].Mapping
}

// counts are what is remembered of a receiver by those who send its records. Planned + Requeued = Zero + Delivered + Letters + those in the outbox.
type counts struct {
	Step      uint64 `json:"step"` // rises with every change, so that it can be told whether one that failed is on disk
	Delivered uint64 `json:"delivered"`
	Letters   uint64 `json:"letters"` // that ever left the outbox undelivered
	Requeued  uint64 `json:"requeued"`
	Retries   uint64 `json:"retries"` // calls for a record after its first
	Dead      int64  `json:"dead"`    // at present
	Uncertain int64  `json:"uncertain"`
	Lines     uint64 `json:"lines"` // that ever were of records that were sent
}

// carry is what was below a receiver's smallest unit.
type carry struct {
	Customer string `json:"customer"`
	Meter    string `json:"meter"`
	Value    string `json:"value"`  // quantity, cost or price
	Amount   string `json:"amount"` // decimal text, of the ledger's unit or the currency
}

// attempt is what is known of calls with a record that is not delivered.
type attempt struct {
	Calls  int    `json:"calls"`
	Maybe  string `json:"maybe,omitempty"` // RFC 3339: the first call after which the receiver may have it
	Error  string `json:"error,omitempty"`
	Alone  bool   `json:"alone,omitempty"`  // it goes in a call of its own
	Logged bool   `json:"logged,omitempty"` // it has its line in feed/
}

// Letter is a record that is not sent any more until someone says so.
type Letter struct {
	Receiver string `json:"receiver"`
	State    string `json:"state"`  // dead: the receiver refuses it; uncertain: the receiver may have it and has forgotten its id
	Reason   string `json:"reason"` // a word
	Detail   string `json:"detail"`
	At       string `json:"at"` // RFC 3339
	Calls    int    `json:"calls"`
	Maybe    string `json:"maybe,omitempty"` // RFC 3339: the first call after which the receiver may have it
	Logged   bool   `json:"logged"`          // it was delivered, as it seemed, and has its line in feed/
	Record   Record `json:"record"`
}

// States of a letter.
const (
	StateDead      = "dead"
	StateUncertain = "uncertain"
)

func receiverKey(kind byte, receiver uint16) []byte {
	return binary.BigEndian.AppendUint16([]byte{kind}, receiver)
}

func nameKey(name string) []byte { return append([]byte{keyReceiver}, name...) }

func dirtyKey(receiver uint16, h usage.Hour) []byte {
	return hourKey(keyDirty, receiver, h)
}

func hourKey(kind byte, receiver uint16, h usage.Hour) []byte {
	return binary.BigEndian.AppendUint32(receiverKey(kind, receiver), uint32(h))
}

// addToHour adds to what is counted of an hour. Those who queue and those who send have counts of their own: they change them at the same time.
func addToHour(v ledger.View, b ledger.Batch, key []byte, n int64) error {
	count, err := hourCount(v, key)
	if err == nil {
		b.Set(key, binary.BigEndian.AppendUint64(nil, uint64(count+n)))
	}
	return err
}

func hourCount(v ledger.View, key []byte) (n int64, err error) {
	value, found, err := v.Get(key)
	if err != nil || !found {
		return 0, err
	}
	return countOf(key, value)
}

func countOf(key, value []byte) (int64, error) {
	if len(value) != 8 {
		return 0, fmt.Errorf("the feed's record %q can't be read", key)
	}
	return int64(binary.BigEndian.Uint64(value)), nil
}

func sentKey(receiver uint16, h usage.Hour, g groupID) []byte {
	return append(hourKey(keySent, receiver, h), g[:]...)
}

func carryKey(receiver uint16, g groupID) []byte {
	return append(receiverKey(keyCarry, receiver), g[:]...)
}

// place is where a record is in the outbox.
type place struct {
	lane   uint16
	number uint64
}

func (p place) key(kind byte, receiver uint16) []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint16(receiverKey(kind, receiver), p.lane), p.number)
}

func placeOf(key []byte) place {
	return place{binary.BigEndian.Uint16(key[3:]), binary.BigEndian.Uint64(key[5:])}
}

func numberKey(kind byte, receiver uint16, number uint64) []byte {
	return binary.BigEndian.AppendUint64(receiverKey(kind, receiver), number)
}

func fileKey(receiver uint16, name string) []byte {
	return append(receiverKey(keyFile, receiver), name...)
}

// after is the first key behind all that begin with prefix; no kind and no prefix of this layout is all 0xff.
func after(prefix []byte) []byte {
	end := append([]byte(nil), prefix...)
	for i := len(end) - 1; ; i-- {
		if end[i]++; end[i] != 0 {
			return end[:i+1]
		}
	}
}

func scanPrefix(v ledger.View, prefix []byte, each func(key, value []byte) error) error {
	return v.Scan(prefix, after(prefix), each)
}

// none says whether no key begins with prefix.
func none(v ledger.View, prefix []byte) (none bool, err error) {
	none = true
	err = scanPrefix(v, prefix, func(_, _ []byte) error {
		none = false
		return ledger.ErrStop
	})
	return none, err
}

func getJSON(v ledger.View, key []byte, record any) (found bool, err error) {
	value, found, err := v.Get(key)
	if err != nil || !found {
		return false, err
	}
	return true, readJSON(key, value, record)
}

func readJSON(key, value []byte, record any) error {
	if err := json.Unmarshal(value, record); err != nil {
		return fmt.Errorf("the feed's record %q can't be read, nothing was sent of it: %w", key, err)
	}
	return nil
}

func setJSON(b ledger.Batch, key []byte, record any) {
	value, err := json.Marshal(record)
	if err != nil {
		panic(err) // only types of this package, which have no value that can't be written
	}
	b.Set(key, value)
}

// sent is what a group's records of an hour say, added up.
type sent struct {
	sums
	revision uint32
}

const (
	sentCostKnown = 1 << iota
	sentPriceKnown
	sentWide // sums take 16 bytes each
)

func (s *sent) append(b []byte) []byte {
	flags := byte(0)
	if s.costKnown {
		flags |= sentCostKnown
	}
	if s.priceKnown {
		flags |= sentPriceKnown
	}
	numbers := [...]decimal.Int128{s.quantity, s.cost, s.price}
	for _, n := range numbers {
		if _, ok := n.Int64(); !ok {
			flags |= sentWide
		}
	}
	b = append(b, flags)
	b = binary.AppendUvarint(b, uint64(s.revision))
	for _, n := range numbers {
		if flags&sentWide != 0 {
			wide := n.Bytes()
			b = append(b, wide[:]...)
			continue
		}
		v, _ := n.Int64()
		b = binary.AppendVarint(b, v)
	}
	return b
}

var errSent = errors.New("what was sent of an hour can't be read from the feed's state: nothing more is made of it")

func decodeSent(b []byte) (s sent, err error) {
	if len(b) == 0 {
		return s, errSent
	}
	flags := b[0]
	s.costKnown, s.priceKnown = flags&sentCostKnown != 0, flags&sentPriceKnown != 0
	revision, n := binary.Uvarint(b[1:])
	if n <= 0 {
		return s, errSent
	}
	s.revision = uint32(revision)
	b = b[1+n:]
	for _, sum := range [...]*decimal.Int128{&s.quantity, &s.cost, &s.price} {
		if flags&sentWide != 0 {
			if len(b) < 16 {
				return s, errSent
			}
			*sum = decimal.FromBytes([16]byte(b[:16]))
			b = b[16:]
			continue
		}
		v, n := binary.Varint(b)
		if n <= 0 {
			return s, errSent
		}
		*sum = decimal.FromInt64(v)
		b = b[n:]
	}
	if len(b) > 0 {
		return s, errSent
	}
	return s, nil
}

// amount is what is carried, in the smallest units of the meter's sum.
func (c *carry) amount(scale int) (*big.Int, error) {
	if c.Amount == "" {
		return new(big.Int), nil
	}
	n, ok := parseDecimal(c.Amount, scale)
	if !ok {
		return nil, fmt.Errorf("what is carried of meter %s for customer %q can't be read from the feed's state: %q", c.Meter, c.Customer, c.Amount)
	}
	return n, nil
}
