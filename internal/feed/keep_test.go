package feed

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/usagebox/otelcol-usagebox/internal/decimal"
	"github.com/usagebox/otelcol-usagebox/internal/ledger"
	"github.com/usagebox/otelcol-usagebox/internal/ledger/parquetfile"
	"github.com/usagebox/otelcol-usagebox/usage"
)

// From its change to its delivery an hour may not leave the ledger.
func TestAnHourIsKeptUntilAllReceiversHaveIt(t *testing.T) {
	s := newSim(t, 1)
	s.calm(true)
	s.every = 0
	want := func(what string, hour usage.Hour) {
		t.Helper()
		if first, err := s.feed.KeepFrom(); err != nil || first != hour {
			t.Fatalf("%s: kept from %d, %v, want %d", what, first, err, hour)
		}
	}
	s.survive(func() { want("nothing was counted", math.MaxUint32) })
	hour := usage.MicrosOf(s.clock).Hour()
	at := hour.Start()
	s.books.count(parquetfile.RollupRow{HourStart: at, Customer: "acme", Meter: "llm_tokens_in", Unit: "token", Quantity: decimal.FromInt64(5_000_000), Events: 1, FirstAt: at, LastAt: at})
	want("it changed", hour)
	for _, r := range s.feed.receivers {
		if err := r.planNow(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	want("it waits for its seal", hour)
	for h := range s.books.totals {
		s.books.seal(h)
	}
	s.clock = s.clock.Add(time.Hour)
	for _, r := range s.feed.receivers {
		if err := r.planNow(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	want("it is in the outbox", hour)
	if err := s.settle(); err != nil {
		t.Fatal(err)
	}
	want("it was delivered", math.MaxUint32)
}

// A feed that goes on where an older program has sent, which counts nothing by hour, counts what waits then.
func TestHoursAreCountedWhereAnOlderProgramHasSent(t *testing.T) {
	d := newDesk(t, &scripted{limits: Limits{Batch: 1}}, nil)
	d.use("acme", 5)
	d.plan()
	r := d.feed.receivers[0]
	hour := usage.MicrosOf(simStart).Hour() - 1
	if first, err := d.feed.KeepFrom(); err != nil || first != hour {
		t.Fatal(first, err)
	}
	old := r.planned
	old.ByHour = false
	if err := d.books.Update(func(_ ledger.View, b ledger.Batch) error {
		setJSON(b, nameKey(r.name), &old)
		b.Set(hourKey(keyQueued, r.number, hour), binary.BigEndian.AppendUint64(nil, 7))
		b.Set(hourKey(keyLeft, r.number, hour), binary.BigEndian.AppendUint64(nil, 7))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if first, err := d.feed.KeepFrom(); err != nil || first != math.MaxUint32 {
		t.Fatal("the counts of before say that it was sent", first, err)
	}
	d.open()
	if first, err := d.feed.KeepFrom(); err != nil || first != hour {
		t.Fatal(first, err)
	}
	d.send()
	if first, err := d.feed.KeepFrom(); err != nil || first != math.MaxUint32 {
		t.Fatal(first, err)
	}
}

// checkHours compares the first hour that is kept with one look through the whole outbox.
func (s *sim) checkHours(r *receiver) {
	v := simView{s.books}
	want := usage.Hour(math.MaxUint32)
	var planned planState
	if _, err := getJSON(v, nameKey(r.name), &planned); err != nil {
		s.t.Fatal(err)
	}
	changes, _ := v.Changes(planned.Change, math.MaxInt)
	for _, c := range changes {
		if c.Hour >= planned.From {
			want = min(want, c.Hour)
		}
	}
	for h := range dirtyOnDisk(v, r, s.t) {
		want = min(want, h)
	}
	if err := scanPrefix(v, receiverKey(keyOutbox, r.number), func(key, value []byte) error {
		record, err := parseRecord(key, value)
		want = min(want, record.hour())
		return err
	}); err != nil {
		s.t.Fatal(err)
	}
	if got, err := r.keepFrom(v); err != nil || got != want {
		s.wrong = cmp.Or(s.wrong, fmt.Errorf("%s: kept from %d, %w, want %d", r.name, got, err, want))
	}
}

// dirtyOnDisk are the hours that wait to be planned.
func dirtyOnDisk(v ledger.View, r *receiver, t *testing.T) map[usage.Hour]bool {
	hours := map[usage.Hour]bool{}
	if err := scanPrefix(v, receiverKey(keyDirty, r.number), func(key, _ []byte) error {
		hours[usage.Hour(binary.BigEndian.Uint32(key[3:]))] = true
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return hours
}
