package ledger

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/usagebox/otelcol-usagebox/usage"
)

// BenchmarkAppend is durable events: batches of 1,000 from a number of callers, with an fsync before each answer.
func BenchmarkAppend(b *testing.B) {
	for _, callers := range []int{1, 4, 16} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			l, err := Open(Options{Directory: b.TempDir(), WriterID: "main", SealAfter: time.Hour})
			if err != nil {
				b.Fatal(err)
			}
			const batch = 1000
			var next atomic.Int64
			var wg sync.WaitGroup
			b.ResetTimer()
			for range callers {
				wg.Add(1)
				go func() {
					defer wg.Done()
					for {
						n := next.Add(1)
						if n > int64(b.N) {
							return
						}
						if _, err := l.Append(context.Background(), benchEvents(n*batch, batch)); err != nil {
							b.Error(err)
							return
						}
					}
				}()
			}
			wg.Wait()
			b.StopTimer()
			b.ReportMetric(float64(b.N)*batch/b.Elapsed().Seconds(), "events/s")
			if err := l.Close(); err != nil {
				b.Fatal(err)
			}
		})
	}
}

func benchEvents(first int64, n int) []usage.Event {
	events := make([]usage.Event, n)
	at := usage.MicrosOf(time.Now())
	for i := range events {
		id := first + int64(i)
		events[i] = usage.Event{
			ID: fmt.Sprintf("req_%x", uint64(id)*0x9e3779b97f4a7c15), Customer: fmt.Sprintf("customer-%d", id%1000), Timestamp: at + usage.Micros(i),
			Model: "claude-4.5-sonnet", Feature: "chat", Source: usage.SourceAPI,
			Lines: []usage.Line{{Meter: usage.MeterTokensIn, Unit: "token", Quantity: usage.Units(id % 10000)}},
		}
		events[i].Normalize()
	}
	return events
}

// BenchmarkSeal is one hour's seal, a hundred thousand events.
func BenchmarkSeal(b *testing.B) {
	for range b.N {
		b.StopTimer()
		clock := &testClock{time.Now()}
		l, err := Open(Options{Directory: b.TempDir(), WriterID: "main", Manual: true, Clock: clock.Now})
		if err != nil {
			b.Fatal(err)
		}
		const events = 100_000
		for i := int64(0); i < events; i += 1000 {
			if _, err := l.Append(context.Background(), benchEvents(i, 1000)); err != nil {
				b.Fatal(err)
			}
		}
		b.StartTimer()
		if err := l.Flush(context.Background()); err != nil {
			b.Fatal(err)
		}
		clock.now = clock.now.Add(24 * time.Hour)
		if err := l.Seal(context.Background()); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		b.ReportMetric(float64(b.N)*events/b.Elapsed().Seconds(), "events/s")
		if err := l.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkNewIDs is the look for ids that are new, and for ids that are known, in a store that has some, in batches of 1,000.
func BenchmarkNewIDs(b *testing.B) {
	for _, ids := range []int64{1_000_000, 4_000_000} {
		for name, first := range map[string]int64{"new": 1 << 40, "known": 0} {
			b.Run(fmt.Sprintf("%s/of=%d", name, ids), func(b *testing.B) {
				l, err := Open(Options{Directory: b.TempDir(), WriterID: "main", Manual: true})
				if err != nil {
					b.Fatal(err)
				}
				const batch = 1000
				for at := int64(0); at < ids; at += batch {
					changes := make(map[digest]idChange, batch)
					for i, e := range benchEvents(at, batch) {
						changes[digestOf(e.Key())] = idChange{known: known{Seq: uint64(at) + uint64(i) + 1}}
					}
					l.state.ids.remember(changes)
					if err := l.keepIDs(l.state, idsPerTable); err != nil {
						b.Fatal(err)
					}
				}
				requests := make([]*request, 100)
				for n := range requests {
					requests[n] = &request{}
					for _, e := range benchEvents(first+int64(n)*7919%(ids-batch), batch) {
						requests[n].prepare(0, &e)
					}
				}
				b.ResetTimer()
				for n := range b.N {
					g := newGroup(l, l.state, batch, 0)
					if err := g.lookUp(requests[n%len(requests):][:1]); err != nil {
						b.Fatal(err)
					}
					if (len(g.known) == batch) != (name == "known") {
						b.Fatal(len(g.known))
					}
					_ = g.batch.Close()
				}
				b.ReportMetric(float64(b.N)*batch/b.Elapsed().Seconds(), "ids/s")
				b.StopTimer()
				if err := l.Close(); err != nil {
					b.Fatal(err)
				}
			})
		}
	}
}
