//go:build unix

package feed

import (
	"context"
	"flag"
	"fmt"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/usagebox/otelcol-usagebox/internal/ledger"
	"github.com/usagebox/otelcol-usagebox/usage"
)

// taker is a receiver that takes everything at once.
type taker struct{ batch int }

func (t taker) Limits() Limits                          { return Limits{Batch: t.batch} }
func (taker) Check(*Record, time.Time) (string, string) { return "", "" }
func (taker) Send(_ context.Context, records []*Record) []Outcome {
	return Fates(len(records), Outcome{Fate: Delivered})
}

var (
	benchCustomers = flag.Int("feed.customers", 100_000, "customers of BenchmarkHours, a multiple of 5,000")
	benchHours     = flag.Int("feed.hours", 1, "hours of BenchmarkHours")
)

var benchMeters = []string{"llm_requests", "llm_tokens_in", "llm_tokens_out", "llm_tokens_cache_read", "tool_calls"}

// BenchmarkHours feeds hours of many customers with five meters each from a real ledger, to a receiver that is away for all of them and then takes calls of 100 at once:
// records made and delivered each second, the processor's time for each in the first hour and in the last, the heap in the first and at its most, the store's
// bytes for each record that waits after the first hour and after the last, and how long it takes, while all wait, to find the oldest and the first hour that is kept.
func BenchmarkHours(b *testing.B) {
	for b.Loop() {
		b.StopTimer()
		newBenchFeed(b).run()
		b.StartTimer()
	}
}

// benchFeed is a feed with a ledger.
type benchFeed struct {
	b      *testing.B
	dir    string
	clock  time.Time
	ledger *ledger.Ledger
	feed   *Feed
	r      *receiver
	heap   float64 // at its most, in MiB
}

func newBenchFeed(b *testing.B) *benchFeed {
	f := &benchFeed{b: b, dir: b.TempDir(), clock: time.Date(2026, 11, 24, 12, 30, 0, 0, time.UTC)}
	clock := func() time.Time { return f.clock }
	var err error
	if f.ledger, err = ledger.Open(ledger.Options{Directory: f.dir, WriterID: "main", Manual: true, Clock: clock}); err != nil {
		b.Fatal(err)
	}
	m := Mapping{Decimals: 12, Dimensions: []string{"model"}}
	if err := m.Validate(); err != nil {
		b.Fatal(err)
	}
	if f.feed, err = Open(Options{
		Books: f.ledger, Directory: f.dir, Writer: "main", Manual: true, Clock: clock,
		Receivers: []Spec{{Name: "taker", Receiver: taker{100}, Mapping: m, Workers: 16, Rate: 1 << 20, From: new(usage.Hour)}},
	}); err != nil {
		b.Fatal(err)
	}
	f.r = f.feed.receivers[0]
	return f
}

func (f *benchFeed) run() {
	hours := *benchHours
	for hour := range hours {
		f.use(hour)
		name := stage("made", hour, hours)
		start, cpu, before := time.Now(), processorTime(), f.r.shown.Load().Planned
		if err := f.r.planNow(context.Background()); err != nil {
			f.b.Fatal(err)
		}
		f.took(name, f.r.shown.Load().Planned-before, time.Since(start), processorTime()-cpu)
		st, err := f.ledger.StatusNow()
		if err != nil {
			f.b.Fatal(err)
		}
		if name != "" {
			f.b.ReportMetric(float64(st.StoreBytes)/float64(f.r.shown.Load().Planned), "store-B/record-"+name)
		}
	}
	all := f.r.shown.Load().Planned
	f.look()
	for hour := range hours {
		f.deliver(stage("delivered", hour, hours), all*uint64(hours-1-hour)/uint64(hours))
	}
	f.b.ReportMetric(float64(all), "records")
	f.b.ReportMetric(f.heap, "MiB-heap-most")
	lines := 0
	if err := (Lines{Directory: f.dir, Receiver: "taker"}).Each(func(*Record) error { lines++; return nil }); err != nil || lines != int(all) {
		f.b.Fatal(lines, all, err)
	}
	if err := f.feed.Close(); err != nil {
		f.b.Fatal(err)
	}
	if err := f.ledger.Close(); err != nil {
		f.b.Fatal(err)
	}
}

// stage names the first hour and, where there are more, the last.
func stage(what string, hour, hours int) string {
	switch hour {
	case 0:
		return what + "-first"
	case hours - 1:
		return what + "-last"
	}
	return ""
}

// use counts an hour's usage and seals it.
func (f *benchFeed) use(hour int) {
	for from := 0; from < *benchCustomers; from += 5000 {
		var events []usage.Event
		for i := range 5000 {
			e := usage.Event{ID: fmt.Sprint("e", hour, "-", from+i), Customer: fmt.Sprintf("customer-%06d", from+i), Timestamp: usage.MicrosOf(f.clock), Model: "claude"}
			for n, m := range benchMeters {
				e.Lines = append(e.Lines, usage.Line{Meter: m, Quantity: usage.Units(int64(1 + 100*n + i))})
			}
			e.Normalize()
			events = append(events, e)
		}
		if r, err := f.ledger.Append(context.Background(), events); err != nil || r.Accepted != len(events) {
			f.b.Fatal(r, err)
		}
	}
	if err := f.ledger.Flush(context.Background()); err != nil {
		f.b.Fatal(err)
	}
	f.clock = f.clock.Add(time.Hour)
	if err := f.ledger.Seal(context.Background()); err != nil {
		f.b.Fatal(err)
	}
}

// look asks what is asked again and again while records wait.
func (f *benchFeed) look() {
	start := time.Now()
	if _, err := f.r.noteOldest(); err != nil {
		f.b.Fatal(err)
	}
	f.b.ReportMetric(float64(time.Since(start).Microseconds())/1000, "ms-oldest")
	start = time.Now()
	if _, err := f.r.noteOldest(); err != nil {
		f.b.Fatal(err)
	}
	f.b.ReportMetric(float64(time.Since(start).Microseconds())/1000, "ms-oldest-again")
	start = time.Now()
	if _, err := f.feed.KeepFrom(); err != nil {
		f.b.Fatal(err)
	}
	f.b.ReportMetric(float64(time.Since(start).Microseconds())/1000, "ms-keep")
}

// deliver makes calls until so many records are left.
func (f *benchFeed) deliver(name string, left uint64) {
	before := f.r.status().Pending
	start, cpu := time.Now(), processorTime()
	for f.r.status().Pending > left {
		calls, _, err := f.r.sender.step(context.Background(), f.clock)
		if err != nil {
			f.b.Fatal(err)
		}
		for _, c := range calls {
			f.r.sender.settle(f.r.sender.do(context.Background(), c), f.clock)
		}
	}
	if err := f.r.sender.writeLines(); err != nil {
		f.b.Fatal(err)
	}
	f.took(name, before-f.r.status().Pending, time.Since(start), processorTime()-cpu)
}

func (f *benchFeed) took(name string, records uint64, clock, processor time.Duration) {
	var memory runtime.MemStats
	runtime.ReadMemStats(&memory)
	heap := float64(memory.HeapAlloc) / (1 << 20)
	f.heap = max(f.heap, heap)
	if name == "" {
		return
	}
	f.b.ReportMetric(float64(records)/clock.Seconds(), name+"/s")
	f.b.ReportMetric(float64(processor.Nanoseconds())/float64(records)/1000, "cpu-µs/"+name)
	f.b.ReportMetric(heap, "MiB-heap-"+name)
}

// processorTime is what the process has taken so far, the store's work in the background included.
func processorTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
