package feed

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/usagebox/otelcol-usagebox/internal/ledger"
	"github.com/usagebox/otelcol-usagebox/usage"
)

// Options say what a feed does.
type Options struct {
	Books     Books
	Directory string        // of the ledger; lines go to feed/ in it
	Writer    string        // the ledger's writer id
	Every     time.Duration // how often open hours are sent; 0: only sealed ones
	Interval  time.Duration // between looks at what has changed
	Receivers []Spec

	Clock    func() time.Time // default: time.Now
	Random   func(n int64) int64
	Instance func() string // makes the random part of ids, once for a feed
	Logger   *zap.Logger

	sabotage sabotage // of tests

	// Manual leaves planning and sending to calls; nothing runs by itself.
	Manual bool
}

func (o *Options) setDefaults() {
	if o.Interval <= 0 {
		o.Interval = time.Second
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Random == nil {
		o.Random = mathrand.Int64N
	}
	if o.Instance == nil {
		o.Instance = func() string {
			var b [16]byte
			_, _ = rand.Read(b[:]) // never fails
			return hex.EncodeToString(b[:])
		}
	}
	if o.Logger == nil {
		o.Logger = zap.NewNop()
	}
}

// Feed makes records of a ledger's totals and brings them to receivers. Its methods may be called from any goroutine.
type Feed struct {
	o         Options
	instance  string
	receivers []*receiver

	stop context.CancelFunc
	work sync.WaitGroup

	failures sync.Mutex
	logged   map[string]time.Time // by what failed: when it was logged
}

// receiver is a receiver with its books.
type receiver struct {
	feed   *Feed
	name   string
	spec   Spec
	sender *sender
	wake   chan struct{} // to the sender
	number uint16
	lines  atomic.Bool // there may be lines to write
	shown  atomic.Pointer[shown]

	looking sync.Mutex // guards seen
	seen    look

	// planning guards what follows. It is held while records are made.
	planning sync.Mutex
	planned  planState
	dirty    map[usage.Hour]usage.Micros
	stale    bool
}

// Open begins to feed.
func Open(o Options) (*Feed, error) {
	o.setDefaults()
	f := &Feed{o: o, logged: map[string]time.Time{}}
	if err := f.open(); err != nil {
		return nil, errors.Join(err, CloseReceivers(o.Receivers))
	}
	for i := range o.Receivers {
		r, err := f.openReceiver(o.Receivers[i])
		if err != nil {
			return nil, errors.Join(fmt.Errorf("receiver %s of the billing feed: %w", o.Receivers[i].Name, err), CloseReceivers(o.Receivers))
		}
		f.receivers = append(f.receivers, r)
	}
	if !o.Manual {
		f.start()
	}
	return f, nil
}

// open finds the feed's state, or makes it.
func (f *Feed) open() error {
	var st feedState
	return f.o.Books.Update(func(v ledger.View, b ledger.Batch) error {
		found, err := getJSON(v, []byte{keyFeed}, &st)
		if err != nil {
			return err
		}
		if !found {
			st = feedState{Version: feedVersion, Instance: f.o.Instance()}
			setJSON(b, []byte{keyFeed}, &st)
		}
		if st.Version > feedVersion {
			return fmt.Errorf("the billing feed's state has version %d, this program knows %d: use the newer program; nothing was sent", st.Version, feedVersion)
		}
		f.instance = st.Instance
		return nil
	})
}

// shown is what others see of a receiver's plan.
type shown struct {
	planState
	hours int // that wait
}

func (r *receiver) show() { r.shown.Store(&shown{r.planned, len(r.dirty)}) }

func (f *Feed) start() {
	ctx, stop := context.WithCancel(context.Background())
	f.stop = stop
	for _, r := range f.receivers {
		f.work.Add(2)
		go func() {
			defer f.work.Done()
			r.planLoop(ctx)
		}()
		go func() {
			defer f.work.Done()
			r.sender.run(ctx)
		}()
	}
}

// Close ends the feed: calls under way get a moment to come back. What was not sent is sent after the next Open.
func (f *Feed) Close() error {
	if f.stop != nil {
		f.stop()
	}
	f.work.Wait()
	return CloseReceivers(f.o.Receivers)
}

// CloseReceivers closes the receivers that hold something. Open does when it fails, and Close.
func CloseReceivers(specs []Spec) (err error) {
	for i := range specs {
		if c, ok := specs[i].Receiver.(interface{ Close() error }); ok {
			err = errors.Join(err, c.Close())
		}
	}
	return err
}

func (r *receiver) planLoop(ctx context.Context) {
	ticker := time.NewTicker(r.feed.o.Interval)
	defer ticker.Stop()
	var asked, lookAt time.Time
	for {
		if err := r.planNow(ctx); err != nil && ctx.Err() == nil {
			r.feed.failed("records of the billing feed could not be made; totals are kept, they are tried again", r.name, err)
		}
		if now := r.feed.o.Clock(); now.Sub(asked) >= askEvery {
			asked = now
			if err := r.sender.ask(ctx); err != nil && ctx.Err() == nil {
				r.feed.failed("a receiver of the billing feed could not be asked about uncertain records; they wait", r.name, err)
			}
		}
		if now := r.feed.o.Clock(); !now.Before(lookAt) {
			if _, err := r.noteOldest(); err != nil && ctx.Err() == nil {
				r.feed.failed("the outbox of the billing feed could not be looked at, its lag is that of before", r.name, err)
			}
			over := r.feed.o.Clock()
			lookAt = over.Add(max(lookEvery, lookShare*over.Sub(now)))
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// lookEvery is how often the age of the oldest record is looked up, unless that took more than a hundredth of the time.
const (
	lookEvery = 15 * time.Second
	lookShare = 100
)

func (r *receiver) planNow(ctx context.Context) error {
	r.planning.Lock()
	defer r.planning.Unlock()
	return r.plan(ctx)
}

// queued tells the sender that there are records.
func (r *receiver) queued(records int) {
	if records == 0 {
		return
	}
	r.lines.Store(true)
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// failed logs a failure, the same one at most once a minute.
func (f *Feed) failed(what, receiver string, err error) {
	now := f.o.Clock()
	f.failures.Lock()
	at, known := f.logged[what+receiver]
	again := known && now.Sub(at) < time.Minute
	if !again {
		f.logged[what+receiver] = now
	}
	f.failures.Unlock()
	if !again {
		f.o.Logger.Error(what, zap.String("receiver", receiver), zap.Error(err))
	}
}

func (f *Feed) now() usage.Micros { return max(0, usage.MicrosOf(f.o.Clock())) }

func (f *Feed) random(n int64) int64 { return f.o.Random(n) }

// folder is where a receiver's lines are.
func (f *Feed) folder(receiver string) string {
	return filepath.Join(f.o.Directory, "feed", filepath.FromSlash(receiver))
}

func (f *Feed) receiver(name string) (*receiver, error) {
	for _, r := range f.receivers {
		if r.name == name {
			return r, nil
		}
	}
	return nil, fmt.Errorf("the billing feed has no receiver %q", name)
}
