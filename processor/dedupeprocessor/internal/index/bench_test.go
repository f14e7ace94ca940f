package index

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/zap"
)

// BenchmarkRecordAndSeen is what a batch of 1,000 new events costs, after so many.
func BenchmarkRecordAndSeen(b *testing.B) {
	for _, millions := range []int{0, 1, 5, 20} {
		b.Run(fmt.Sprintf("known=%dM", millions), func(b *testing.B) {
			x, err := Open(Options{Directory: b.TempDir(), Window: time.Hour, MaxDisk: 1 << 40, CacheSize: 1 << 30, FS: vfs.Default, Logger: zap.NewNop(), Report: func(err error) { b.Error(err) }})
			if err != nil {
				b.Fatal(err)
			}
			rng := rand.New(rand.NewPCG(1, uint64(millions)))
			batch := make([]Entry, 1000)
			known := make([]Known, len(batch))
			fill := func() {
				for i := range batch {
					for j := 0; j < 16; j += 8 {
						binary.LittleEndian.PutUint64(batch[i].Hash[j:], rng.Uint64())
						binary.LittleEndian.PutUint64(batch[i].Payload[j:], rng.Uint64())
					}
				}
			}
			for range millions * 1000 {
				fill()
				if _, err := x.Record(batch, time.Now()); err != nil {
					b.Fatal(err)
				}
			}
			x.work.Wait()
			var seen, record time.Duration
			for b.Loop() {
				fill()
				clear(known)
				t := time.Now()
				x.Seen(t, batch, known)
				seen += time.Since(t)
				t = time.Now()
				if _, err := x.Record(batch, t); err != nil {
					b.Fatal(err)
				}
				record += time.Since(t)
			}
			b.ReportMetric(float64(seen.Nanoseconds())/float64(b.N*1000), "ns/seen")
			b.ReportMetric(float64(record.Nanoseconds())/float64(b.N*1000), "ns/record")
			b.ReportMetric(float64(len(x.tables())), "tables")
			if err := x.Close(); err != nil {
				b.Fatal(err)
			}
		})
	}
}
