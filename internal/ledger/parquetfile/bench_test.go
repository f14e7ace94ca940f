package parquetfile

import (
	"bytes"
	"io"
	"testing"

	"github.com/usagebox/otelcol-usagebox/usage"
)

const benchEvents = 200_000

func BenchmarkWriteEvents(b *testing.B) {
	events := load(benchEvents)
	b.ReportAllocs()
	for b.Loop() {
		var out bytes.Buffer
		if err := WriteEvents(&out, events); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(out.Len())/benchEvents, "B/event")
	}
	b.ReportMetric(float64(b.N)*benchEvents/b.Elapsed().Seconds(), "events/s")
}

func BenchmarkPart(b *testing.B) {
	events := load(benchEvents)
	for b.Loop() {
		w := NewPartWriter(io.Discard, io.Discard, io.Discard, nil)
		for i := range events {
			if err := w.Write(&events[i]); err != nil {
				b.Fatal(err)
			}
		}
		if _, err := w.Close(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)*benchEvents/b.Elapsed().Seconds(), "events/s")
}

func BenchmarkReadEvents(b *testing.B) {
	f := opened(b, written(b, 0, load(benchEvents)))
	b.ReportAllocs()
	for b.Loop() {
		r := f.Events()
		var e usage.Event
		for r.Next(&e) == nil {
		}
		r.Close()
	}
	b.ReportMetric(float64(b.N)*benchEvents/b.Elapsed().Seconds(), "events/s")
}

func BenchmarkLookup(b *testing.B) {
	events := load(benchEvents)
	f := opened(b, written(b, 0, events))
	for name, change := range map[string]string{"present": "", "absent": "x"} {
		b.Run(name, func(b *testing.B) {
			i := 0
			for b.Loop() {
				var e usage.Event
				key := events[i*7919%benchEvents].Key()
				key.ID += change
				if found, err := f.Lookup(key, &e); err != nil || found != (change == "") {
					b.Fatal(found, err)
				}
				i++
			}
		})
	}
}

func BenchmarkOpenEvents(b *testing.B) {
	file := written(b, 0, load(1000))
	b.ReportAllocs()
	for b.Loop() {
		opened(b, file)
	}
}

func BenchmarkSmallPart(b *testing.B) {
	events := load(100)
	b.ReportAllocs()
	for b.Loop() {
		w := NewPartWriter(io.Discard, io.Discard, io.Discard, nil)
		for i := range events {
			if err := w.Write(&events[i]); err != nil {
				b.Fatal(err)
			}
		}
		if _, err := w.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
