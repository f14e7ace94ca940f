package feed

import (
	"context"
	"flag"
	"fmt"
	"path/filepath"
	"runtime"
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

var benchCustomers = flag.Int("feed.customers", 100_000, "customers of BenchmarkHour, a multiple of 5,000")

// BenchmarkHour feeds an hour of many customers with five meters each from a real ledger: records made, and delivered in calls of 100, each second; the
// store's bytes for each record that waits, and the memory that it takes.
func BenchmarkHour(b *testing.B) {
	customers := *benchCustomers
	meters := []string{"llm_requests", "llm_tokens_in", "llm_tokens_out", "llm_tokens_cache_read", "tool_calls"}
	for b.Loop() {
		b.StopTimer()
		dir := b.TempDir()
		clock := time.Date(2026, 11, 24, 12, 30, 0, 0, time.UTC)
		l, err := ledger.Open(ledger.Options{Directory: dir, WriterID: "main", Manual: true, Clock: func() time.Time { return clock }})
		if err != nil {
			b.Fatal(err)
		}
		for from := 0; from < customers; from += 5000 {
			var events []usage.Event
			for i := range 5000 {
				e := usage.Event{ID: fmt.Sprint("e", from+i), Customer: fmt.Sprintf("customer-%06d", from+i), Timestamp: usage.MicrosOf(clock), Model: "claude"}
				for n, m := range meters {
					e.Lines = append(e.Lines, usage.Line{Meter: m, Quantity: usage.Units(int64(100*n + i))})
				}
				e.Normalize()
				events = append(events, e)
			}
			if r, err := l.Append(context.Background(), events); err != nil || r.Accepted != len(events) {
				b.Fatal(r, err)
			}
		}
		if err := l.Flush(context.Background()); err != nil {
			b.Fatal(err)
		}
		clock = clock.Add(3 * time.Hour)
		if err := l.Seal(context.Background()); err != nil {
			b.Fatal(err)
		}
		m := Mapping{Decimals: 12, Dimensions: []string{"model"}}
		if err := m.Validate(); err != nil {
			b.Fatal(err)
		}
		f, err := Open(Options{
			Books: l, Directory: dir, Writer: "main", Manual: true, Clock: func() time.Time { return clock },
			Receivers: []Spec{{Name: "taker", Receiver: taker{100}, Mapping: m, Workers: 16, Rate: 1 << 20, From: new(usage.Hour)}},
		})
		if err != nil {
			b.Fatal(err)
		}
		r := f.receivers[0]
		b.StartTimer()
		start := time.Now()
		if err := r.planNow(context.Background()); err != nil {
			b.Fatal(err)
		}
		planned := time.Since(start)
		records := float64(r.shown.Load().Planned)
		st, _ := l.StatusNow()
		start = time.Now()
		for r.status().Pending > 0 {
			calls, _, err := r.sender.step(context.Background(), clock)
			if err != nil {
				b.Fatal(err)
			}
			for _, c := range calls {
				r.sender.settle(r.sender.do(context.Background(), c), clock)
			}
		}
		if err := r.sender.writeLines(); err != nil {
			b.Fatal(err)
		}
		sent := time.Since(start)
		b.StopTimer()
		var memory runtime.MemStats
		runtime.ReadMemStats(&memory)
		b.ReportMetric(records, "records")
		b.ReportMetric(records/planned.Seconds(), "made/s")
		b.ReportMetric(records/sent.Seconds(), "delivered/s")
		b.ReportMetric(float64(memory.HeapAlloc)/(1<<20), "MiB-heap")
		b.ReportMetric(float64(st.StoreBytes)/records, "store-B/record")
		if files, _ := filepath.Glob(filepath.Join(dir, "feed", "taker", "*.ndjson")); len(files) != 1 {
			b.Fatal(files)
		}
		if err := f.Close(); err != nil {
			b.Fatal(err)
		}
		if err := l.Close(); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}
