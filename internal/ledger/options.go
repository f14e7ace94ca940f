package ledger

import (
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/usagebox/otelcol-usagebox/usage"
)

// Defaults of Options.
const (
	DefaultFlushInterval  = 5 * time.Second
	DefaultSealAfter      = 15 * time.Minute
	DefaultCorrectionWait = 24 * time.Hour
	DefaultMaxOpenBytes   = 64 << 30
	DefaultMinFreeBytes   = 256 << 20
	DefaultCacheBytes     = 64 << 20
	DefaultSealBytes      = 128 << 20
)

// Options say where a ledger is and how it goes about its work. Zero durations and sizes mean what they say, except
// FlushInterval, MaxOpenBytes, CacheBytes and SealBytes, where zero is the default.
type Options struct {
	Directory string // holds events/, rollups/, runs/, refused/ and state/
	WriterID  string // see ValidWriterID

	FlushInterval  time.Duration // how soon acknowledged events appear as a part
	SealAfter      time.Duration // how long after an hour's end, and after the last seal of late usage, it is sealed
	CorrectionWait time.Duration // how long a correction waits for its target

	// RollupDimensions are what rollups are grouped by, as parquetfile.NewGrouping takes them; nil is parquetfile.DefaultDimensions. It may be changed: parts
	// that are there stay as they are.
	RollupDimensions []string

	MaxOpenBytes int64 // events waiting for a seal, encoded; beyond it Append fails with ErrBusy
	MinFreeBytes int64 // free disk space below which Append fails with ErrDiskFull
	CacheBytes   int64 // block cache of the store; and of the filters of known ids, which grow with them up to it
	SealBytes    int64 // events of one sealed part, encoded; an open hour that has more is sealed piece by piece

	// Settle gives a correction its amounts. target has what was left of its quantities before, and what it was charged, earlier corrections included. It is
	// called by one goroutine at a time and has to give the same for the same. nil: corrections keep the amounts that they come with.
	Settle func(target, correction *usage.Event)

	Retention Retention

	// KeepFrom says of which hours on nothing leaves yet, whatever Retention says; while it fails nothing leaves at all. It may read the ledger. nil keeps nothing
	// back.
	KeepFrom func() (usage.Hour, error)

	FS       FS               // default: the operating system's
	Clock    func() time.Time // default: time.Now
	Logger   *zap.Logger      // default: none
	Observer Observer         // default: none

	// Manual leaves parts and seals to calls of Flush and Seal; nothing runs by itself.
	Manual bool

	// Borrowed says that a command has the directory for a moment: whoever starts on it meanwhile waits.
	Borrowed bool

	sabotage    sabotage // of tests
	memTable    uint64   // bytes of the store's memtable; 0 is memTableBytes
	idsPerTable int      // 0 is idsPerTable
	idReads     int      // 0 is idReads
	maxParts    int      // 0 is maxOpenParts
	maxLate     int      // 0 is maxLateParts
	maxDaily    int      // 0 is maxDailyParts
	maxDayFiles int      // 0 is maxDailyFiles
}

func (o *Options) setDefaults() error {
	if o.Directory == "" {
		return errors.New("the ledger's directory is not set")
	}
	if !ValidWriterID(o.WriterID) {
		return fmt.Errorf("writer id %q is not 1 to 64 of the characters A-Z, a-z, 0-9, '.', '_' and '-', the first a letter or digit", o.WriterID)
	}
	if _, err := groupingOf(o.RollupDimensions); err != nil {
		return err
	}
	if err := o.Retention.Validate(); err != nil {
		return err
	}
	if o.FlushInterval <= 0 {
		o.FlushInterval = DefaultFlushInterval
	}
	if o.MaxOpenBytes <= 0 {
		o.MaxOpenBytes = DefaultMaxOpenBytes
	}
	if o.CacheBytes <= 0 {
		o.CacheBytes = DefaultCacheBytes
	}
	if o.SealBytes <= 0 {
		o.SealBytes = DefaultSealBytes
	}
	if o.FS == nil {
		o.FS = OS
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Logger == nil {
		o.Logger = zap.NewNop()
	}
	if o.Observer == nil {
		o.Observer = nopObserver{}
	}
	return nil
}

// ValidWriterID says whether id can name a writer: it is part of every path, as writer=ID.
func ValidWriterID(id string) bool {
	if id == "" || len(id) > 64 {
		return false
	}
	for i := range len(id) {
		c := id[i]
		alphanumeric := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !alphanumeric && (i == 0 || c != '.' && c != '_' && c != '-') {
			return false
		}
	}
	return true
}

// Result says what became of the events of one Append. Accepted + Duplicates + len(Rejections) + Moved is their number.
type Result struct {
	Accepted     int // new, and durable; corrections that wait for their target are among them
	Duplicates   int // known with the same payload
	Rejections   []usage.Rejection
	Unattributed int // of the accepted, those without a customer
	Late         int // of the accepted, those whose hour had been sealed
	Moved        int // amendments whose target is not as it was seen
}

// Conflicts is the number of rejections with the reason conflict.
func (r *Result) Conflicts() (n int) {
	for i := range r.Rejections {
		if r.Rejections[i].Reason == usage.ReasonConflict {
			n++
		}
	}
	return n
}

// Observer is told what happens. Its methods are called from several goroutines and must not block.
type Observer interface {
	Appended(received int, r *Result)
	Failed(received int)                // an Append that was told to send again
	Synced(d time.Duration)             // one group commit
	PartMade(bytes int64)               // a part appeared
	Sealed(bytes int64, exchanged bool) // a sealed part is in the chain; not exchanged: its files stayed as they were
	MaintenanceFailed()                 // a round of flush or seal failed and will be tried again
}

type nopObserver struct{}

func (nopObserver) Appended(int, *Result) {}
func (nopObserver) Failed(int)            {}
func (nopObserver) Synced(time.Duration)  {}
func (nopObserver) PartMade(int64)        {}
func (nopObserver) Sealed(int64, bool)    {}
func (nopObserver) MaintenanceFailed()    {}

// Errors of Append after which the same events are to be sent again: nothing was taken, or what was taken will be known as a duplicate.
var (
	ErrClosed   = errors.New("the ledger is closed: nothing was taken, send again")
	ErrBusy     = errors.New("too many events wait for their hour's seal: nothing was taken, send again later")
	ErrDiskFull = errors.New("the ledger's disk has too little room: nothing was taken, send again later")
	ErrBroken   = errors.New("the ledger's store failed and is being opened again: what was sent is not surely kept, send again")
)
