package feed

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/usagebox/otelcol-usagebox/internal/decimal"
	"github.com/usagebox/otelcol-usagebox/internal/ledger/parquetfile"
	"github.com/usagebox/otelcol-usagebox/usage"
)

func TestARecordIsNeverOfTheFuture(t *testing.T) {
	r := &scripted{limits: Limits{Batch: 10}}
	d := newDesk(t, r, nil)
	d.every = time.Second
	d.open()
	d.useAt("acme", 1, simStart.Add(40*time.Minute)) // of a sender whose clock is ahead
	d.useAt("acme", 2, simStart.Add(3*time.Hour))
	d.plan()
	d.clock = d.clock.Add(time.Minute)
	d.plan()
	d.send()
	if len(r.sent) != 1 || !r.sent[0].Time().Equal(d.clock) || r.sent[0].Quantity != "1" {
		t.Fatalf("%+v", r.sent)
	}
	if st := d.status(); st.Hours != 1 {
		t.Fatalf("an hour that has not begun does not wait: %+v", st)
	}
	d.clock = simStart.Add(4 * time.Hour)
	d.plan()
	d.send()
	if len(r.sent) != 2 || !r.sent[1].Time().Equal(simStart.Add(3*time.Hour)) {
		t.Fatalf("%+v", r.sent)
	}
}

// A receiver with `from` is told to begin earlier, and restarted before all of that is sent.
func TestAReplayIsNotUndoneByARestart(t *testing.T) {
	r := &scripted{limits: Limits{Batch: 10}}
	from := usage.MicrosOf(simStart).Hour() - 2
	d := newDesk(t, r, func(s *Spec) { s.From = &from })
	d.useAt("acme", 1, simStart.Add(-5*time.Hour))
	d.use("acme", 2)
	d.plan()
	d.send()
	if len(r.sent) != 1 || r.sent[0].Quantity != "2" {
		t.Fatalf("%+v", r.sent)
	}
	if err := d.feed.Replay("r", from-10); err != nil {
		t.Fatal(err)
	}
	d.open()
	d.plan()
	d.send()
	if len(r.sent) != 2 || r.sent[1].Quantity != "1" {
		t.Fatalf("%+v", r.sent)
	}
}

func TestALaterFromLeavesOutWhatWaits(t *testing.T) {
	r := &scripted{limits: Limits{Batch: 10}}
	d := newDesk(t, r, nil)
	d.useAt("acme", 1, simStart.Add(-5*time.Hour))
	d.use("acme", 2)
	if err := d.receiver().planNow(t.Context()); err != nil { // both hours are seen, and not sealed
		t.Fatal(err)
	}
	from := usage.MicrosOf(simStart).Hour() - 2
	d.spec.From = &from
	d.open()
	d.plan()
	d.send()
	if len(r.sent) != 1 || r.sent[0].Quantity != "2" {
		t.Fatalf("%+v", r.sent)
	}
	d.spec.From = new(usage.Hour)
	d.open()
	d.plan()
	d.send()
	if len(r.sent) != 2 || r.sent[1].Quantity != "1" {
		t.Fatalf("%+v", r.sent)
	}
}

func TestWhoReadsAPreviewHoldsNothingUp(t *testing.T) {
	d := newDesk(t, &scripted{limits: Limits{Batch: 10}}, nil)
	d.use("acme", 1)
	n := 0
	if err := d.feed.Preview("r", func(*Record) error {
		n++
		d.plan() // would wait for ever
		return nil
	}); err != nil || n != 1 {
		t.Fatal(n, err)
	}
	d.want("made meanwhile", 1, 0, 0, 0)
}

// Two customers that a receiver knows by one name are one queue to it.
func TestOneCallAtATimeForACustomerOfTheReceivers(t *testing.T) {
	r := &scripted{limits: Limits{Batch: 1}}
	d := newDesk(t, r, func(s *Spec) { s.Customers, s.Workers = &Customers{Template: "cus_one"}, 8 })
	for _, customer := range []string{"a", "b", "c", "d"} {
		d.use(customer, 1)
	}
	d.plan()
	for d.status().Pending > 0 {
		if calls := d.round(); calls > 1 {
			t.Fatalf("%d calls at once", calls)
		}
	}
	if len(r.sent) != 4 {
		t.Fatalf("%d records were sent", len(r.sent))
	}
}

func TestStatusSaysWhatIsCarriedAndSinceWhenRecordsWait(t *testing.T) {
	r := &scripted{limits: Limits{Batch: 1}, send: func(records []*Record) []Outcome {
		return Fates(len(records), Outcome{Fate: NotTaken, Err: noAnswer.Err})
	}}
	d := newDesk(t, r, func(s *Spec) { s.Mapping = Mapping{Meters: []Meter{{Meter: "*", Name: "thousands", Per: "1000"}}} })
	d.use("acme", 1999)
	d.use("beta", 1500)
	d.plan()
	d.clock = d.clock.Add(time.Hour)
	d.use("beta", 2000)
	d.plan()
	d.send()
	st := d.status()
	if st.Carried != 2 || len(st.Carry) != 1 || st.Carry[0] != (Carry{Meter: "thousands", Value: ValueQuantity, Amount: "1499"}) {
		t.Errorf("carried: %d, %+v", st.Carried, st.Carry)
	}
	if st.LagS != 3600 || st.Oldest != formatTime(simStart) || st.Pending != 3 {
		t.Errorf("%+v", st)
	}
	if _, err := d.receiver().noteOldest(); err != nil {
		t.Fatal(err)
	}
	if st := d.receiver().status(); st.LagS != 3600 {
		t.Errorf("the metric of the lag is %d", st.LagS)
	}
}

// The oldest record is looked for again when it has gone, or another was put back.
func TestTheOldestIsLookedForAgainWhenItMayBeAnother(t *testing.T) {
	refused := true
	r := &scripted{limits: Limits{Batch: 1}}
	r.send = func(records []*Record) []Outcome {
		if refused {
			return Fates(1, Outcome{Fate: Refused, Reason: "bad"})
		}
		return Fates(1, Outcome{Fate: NotTaken, Err: errAway})
	}
	d := newDesk(t, r, nil)
	d.use("acme", 1)
	d.plan()
	d.send() // the first is dead
	refused = false
	first := d.clock
	d.clock = d.clock.Add(time.Hour)
	d.use("beta", 1)
	d.plan()
	d.round() // begins
	want := func(at time.Time) {
		t.Helper()
		if oldest, err := d.receiver().noteOldest(); err != nil || !oldest.Equal(at) {
			t.Fatal(oldest, err)
		}
	}
	want(d.clock)
	want(d.clock)
	d.retry(Selection{})
	want(first)
	r.send = nil
	d.clock = d.clock.Add(time.Hour)
	d.send()
	want(time.Time{})
}

// An hour of which no records can be made says so each time, and holds no other up.
func TestAnHourThatFailsHoldsNoOtherUp(t *testing.T) {
	d := newDesk(t, &scripted{limits: Limits{Batch: 1}}, nil)
	most := decimal.FromBytes([16]byte{0x7f, 0xff})
	for _, feature := range []string{"a", "b"} {
		at := usage.MicrosOf(simStart.Add(-3 * time.Hour))
		d.books.count(parquetfile.RollupRow{HourStart: at.Hour().Start(), Customer: "acme", Feature: feature, Meter: "units", Unit: "unit", Quantity: most, Events: 1, FirstAt: at, LastAt: at})
	}
	d.use("acme", 5)
	for h := range d.books.totals {
		d.books.seal(h)
	}
	for range 2 {
		if err := d.receiver().planNow(context.Background()); err == nil || !strings.Contains(err.Error(), "overflows") {
			t.Fatal(err)
		}
	}
	d.send()
	d.want("the other hour is sent", 0, 1, 0, 0)
	if st := d.status(); st.Hours != 1 {
		t.Fatalf("%d hours wait", st.Hours)
	}
}
