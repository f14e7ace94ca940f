package feed

import (
	"context"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/usagebox/otelcol-usagebox/internal/decimal"
	"github.com/usagebox/otelcol-usagebox/internal/ledger/parquetfile"
	"github.com/usagebox/otelcol-usagebox/usage"
)

// scripted is a receiver that does as a test says.
type scripted struct {
	limits Limits
	send   func(records []*Record) []Outcome // nil: all are delivered
	sent   []Record
}

func (s *scripted) Limits() Limits                            { return s.limits }
func (s *scripted) Check(*Record, time.Time) (string, string) { return "", "" }
func (s *scripted) Send(_ context.Context, records []*Record) []Outcome {
	for _, r := range records {
		s.sent = append(s.sent, *r)
	}
	if s.send == nil {
		return Fates(len(records), Outcome{Fate: Delivered})
	}
	return s.send(records)
}

// asked is one that can be asked.
type asked struct {
	*scripted
	received func(customer string) string
}

func (a asked) Received(_ context.Context, customer, _ string, _ time.Time) (string, error) {
	return a.received(customer), nil
}

// desk is a feed in the hands of a test, on books that never fail.
type desk struct {
	t     *testing.T
	clock time.Time
	books *simBooks
	dir   string
	spec  Spec
	every time.Duration
	feed  *Feed
}

func newDesk(t *testing.T, r Receiver, change func(*Spec)) *desk {
	t.Helper()
	d := &desk{t: t, clock: simStart, books: newSimBooks(rand.New(rand.NewPCG(1, 1))), dir: t.TempDir()}
	d.spec = Spec{Name: "r", Receiver: r, Mapping: Mapping{Decimals: 12}, From: new(usage.Hour), Rate: 1 << 20, MinBackoff: time.Second, MaxBackoff: time.Second}
	if change != nil {
		change(&d.spec)
	}
	if err := d.spec.Mapping.Validate(); err != nil {
		t.Fatal(err)
	}
	d.open()
	return d
}

func (d *desk) open() {
	d.t.Helper()
	f, err := Open(Options{
		Books: d.books, Directory: d.dir, Writer: "main", Every: d.every, Receivers: []Spec{d.spec}, Manual: true, Clock: func() time.Time { return d.clock },
		Random: func(n int64) int64 { return n - 1 }, Instance: func() string { return "instance" },
	})
	if err != nil {
		d.t.Fatal(err)
	}
	d.feed = f
}

func (d *desk) receiver() *receiver { return d.feed.receivers[0] }

// use counts units, of the last hour that is over.
func (d *desk) use(customer string, units int64) { d.useAt(customer, units, simStart.Add(-time.Hour)) }

func (d *desk) useAt(customer string, units int64, when time.Time) {
	at := usage.MicrosOf(when)
	d.books.count(parquetfile.RollupRow{
		HourStart: at.Hour().Start(), Customer: customer, Meter: "units", Unit: "unit", Quantity: decimal.FromInt64(units * 1_000_000), Events: 1, FirstAt: at, LastAt: at,
	})
}

// plan seals all hours that are over, and makes their records.
func (d *desk) plan() {
	d.t.Helper()
	for h := range d.books.totals {
		if !h.Start().Time().Add(time.Hour).After(d.clock) && d.books.open[h] > 0 {
			d.books.seal(h)
		}
	}
	if err := d.receiver().planNow(context.Background()); err != nil {
		d.t.Fatal(err)
	}
}

// round begins the calls that may begin, and lets them come back.
func (d *desk) round() (calls int) {
	d.t.Helper()
	s := d.receiver().sender
	begun, _, err := s.step(context.Background(), d.clock)
	if err != nil {
		d.t.Fatal(err)
	}
	for _, c := range begun {
		s.settle(s.do(context.Background(), c), d.clock)
	}
	return len(begun)
}

// send calls until there is nothing to call for, and writes the lines.
func (d *desk) send() {
	d.t.Helper()
	for d.round() > 0 {
	}
	if err := d.receiver().sender.writeLines(); err != nil {
		d.t.Fatal(err)
	}
}

func (d *desk) status() Status {
	d.t.Helper()
	all, err := d.feed.StatusNow(true)
	if err != nil {
		d.t.Fatal(err)
	}
	return all[0]
}

// want compares what is pending, delivered, dead and uncertain.
func (d *desk) want(when string, pending, delivered uint64, dead, uncertain int64) {
	d.t.Helper()
	if st := d.status(); st.Pending != pending || st.Delivered != delivered || st.Dead != dead || st.Uncertain != uncertain {
		d.t.Fatalf("%s: %+v, want %d pending, %d delivered, %d dead, %d uncertain", when, st, pending, delivered, dead, uncertain)
	}
}

func (d *desk) retry(sel Selection) {
	d.t.Helper()
	if _, err := d.feed.Retry(sel, false); err != nil {
		d.t.Fatal(err)
	}
}
