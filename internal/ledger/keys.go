package ledger

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"

	"github.com/usagebox/otelcol-usagebox/usage"
)

// The first byte of a key says what it is about. Numbers in keys are big endian, so that keys sort as their numbers do.
const (
	keyChunk   = 'A' // hour, number of the first event → events that one commit brought for that hour
	keyTable   = 'B' // position → idTableRecord: the tables of ids, oldest first
	keyChange  = 'C' // change → hour: the hours in the order in which their totals changed last
	keyLeaving = 'D' // hour → leaving: recorded in the chain, not removed yet
	keyFlushed = 'F' // hour → flushedRecord
	keyMerge   = 'G' // hour → lateMerge: begun, not done
	keyHour    = 'H' // hour → hourRecord
	keyOldID   = 'I' // digest of (customer, event id) → known: in version 2, in place of tables
	keyTarget  = 'K' // digest of (customer, event id) → target: what corrections have made of an event
	keyChain   = 'L' // record number → line of the chain
	keyMeta    = 'M' // name → see the names below
	keyDaily   = 'N' // day, number → daily
	keyPart    = 'P' // hour, first event → part
	keyRefused = 'Q' // day, first record → refusedPart
	keyRefusal = 'R' // day, record → refusal
	keySealed  = 'S' // hour, first event → sealed
	keyTotal   = 'T' // hour, rollup key → total
	keyWaiting = 'W' // digest of the target, digest of the correction → waiting
	keyAnnex   = 'X' // key of the annex → value
	keyPending = 'Y' // generation, digest → known: what chunks don't say of an id that is in no table yet
)

const (
	metaVersion = "version" // of this layout
	metaNext    = "next"    // number of the next event
	metaRefused = "refused" // number of the next refusal
	metaChange  = "change"  // number of the last change
	metaDaily   = "daily"   // number of the next daily part
	metaIDs     = "ids"     // events with lower numbers have their ids in tables
)

// stateVersion is the version of the layout of the store. A directory of the three before is brought to it, of any other it is refused.
const (
	stateVersion  = 5
	oldestVersion = 2
)

func metaKey(name string) []byte { return append([]byte{keyMeta}, name...) }

func hourKey(kind byte, h usage.Hour) []byte {
	return binary.BigEndian.AppendUint32([]byte{kind}, uint32(h))
}

func hourSeqKey(kind byte, h usage.Hour, seq uint64) []byte {
	return binary.BigEndian.AppendUint64(hourKey(kind, h), seq)
}

func numberKey(kind byte, n uint64) []byte { return binary.BigEndian.AppendUint64([]byte{kind}, n) }

// hourOf and seqOf take hourSeqKey apart.
func hourOf(key []byte) usage.Hour { return usage.Hour(binary.BigEndian.Uint32(key[1:])) }
func seqOf(key []byte) uint64      { return binary.BigEndian.Uint64(key[5:]) }

// digest identifies an event: the first 16 bytes of the SHA-256 of its customer, preceded by its length, and its id.
type digest [16]byte

func digestOf(k usage.Key) digest {
	var buf [2*usage.MaxIDBytes + 8]byte
	b := binary.AppendUvarint(buf[:0], uint64(len(k.Customer)))
	b = append(b, k.Customer...)
	b = append(b, k.ID...)
	sum := sha256.Sum256(b)
	return digest(sum[:16])
}

func digestKey(kind byte, d digest) []byte { return append([]byte{kind}, d[:]...) }

// known is what the ledger remembers of an event for ever: where it is and the first half of its Payload. Seq is 0 while a correction
// waits for its target, and forgotten when the id is known no more.
type known struct {
	Hour    usage.Hour
	Payload [8]byte
	Seq     uint64
}

func (k known) append(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(k.Hour))
	b = append(b, k.Payload[:]...)
	return binary.AppendUvarint(b, k.Seq)
}

func decodeKnown(b []byte) (known, error) {
	if len(b) < 13 {
		return known{}, corrupt("the place of an event id", fmt.Errorf("it has %d bytes", len(b)))
	}
	seq, n := binary.Uvarint(b[12:])
	if n <= 0 || 12+n != len(b) {
		return known{}, corrupt("the place of an event id", fmt.Errorf("its number can't be read"))
	}
	return known{usage.Hour(binary.BigEndian.Uint32(b)), [8]byte(b[4:12]), seq}, nil
}

// CorruptError says that something on disk is not what was written there. Nothing is derived from it.
type CorruptError struct {
	What string
	Err  error
}

func corrupt(what string, err error) error { return &CorruptError{what, err} }

func (e *CorruptError) Error() string {
	return fmt.Sprintf("%s is corrupt: %v: nothing was changed; run ledger verify, and restore the file from a copy", e.What, e.Err)
}

func (e *CorruptError) Unwrap() error { return e.Err }
