package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/usagebox/otelcol-usagebox/internal/ledger"
	"github.com/usagebox/otelcol-usagebox/usage"
)

// sealHour measures what the ledger alone needs for the events of one hour: durable in batches, as parts, and sealed.
func sealHour(b *bench) error {
	var kept, parts, sealed []measured
	for range b.rounds {
		dir, err := b.folder()
		if err != nil {
			return err
		}
		p := &process{dir: dir}
		now := time.Now().Truncate(time.Hour)
		l, err := ledger.Open(ledger.Options{Directory: dir + "/usage", WriterID: "main", Manual: true, Clock: func() time.Time { return now }})
		if err != nil {
			return err
		}
		measure := func(to *[]measured, work func() error) error {
			begin := time.Now()
			if err := work(); err != nil {
				return err
			}
			m := measured{perSecond: float64(b.hour) / time.Since(begin).Seconds()}
			bytes, err := p.parts()
			m.bytes = float64(bytes) / float64(b.hour)
			*to = append(*to, m)
			return err
		}
		err = measure(&kept, func() error {
			for i := 0; i < b.hour; i += eventsPerRequest {
				if _, err := l.Append(context.Background(), ledgerEvents(i, now)); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		if err := measure(&parts, func() error { return l.Flush(context.Background()) }); err != nil {
			return err
		}
		now = now.Add(24 * time.Hour)
		if err := measure(&sealed, func() error { return l.Seal(context.Background()) }); err != nil {
			return err
		}
		if err := l.Close(); err != nil {
			return err
		}
	}
	peak, err := statusOf("self", "VmHWM:")
	if err != nil {
		return err
	}
	fmt.Printf("The ledger alone, %d events of one line in one hour, in batches of %d from one caller\n\n", b.hour, eventsPerRequest)
	header("durable, events/s", "as a part, events/s", "sealed, events/s", "bytes an event in the part", "sealed", "peak RSS MiB")
	row(spread(kept, measured.rate, "%.0f"), spread(parts, measured.rate, "%.0f"), spread(sealed, measured.rate, "%.0f"),
		spread(parts, measured.size, "%.1f"), spread(sealed, measured.size, "%.1f"), fmt.Sprintf("%.0f", peak))
	return nil
}

// filledLedger is a folder with a ledger of so many events, sealed, in hours that are over; empty when there are to be none.
func (b *bench) filledLedger(events int) (string, error) {
	if events == 0 {
		return "", nil
	}
	const batch = 10 * eventsPerRequest
	dir, err := b.folder()
	if err != nil {
		return "", err
	}
	l, err := ledger.Open(ledger.Options{Directory: dir, WriterID: "main", Manual: true})
	if err != nil {
		return "", err
	}
	from := time.Now().Add(-24 * time.Hour).Truncate(time.Hour)
	for at := 0; at < events; at += batch {
		var old []usage.Event
		for i := at; i < min(at+batch, events); i += eventsPerRequest {
			old = append(old, ledgerEvents(i, from)...)
		}
		for i := range old {
			old[i].ID = "old_" + old[i].ID
		}
		if _, err := l.Append(context.Background(), old[:min(batch, events-at)]); err != nil {
			return "", errors.Join(err, l.Close())
		}
	}
	return dir, errors.Join(l.Seal(context.Background()), l.Close())
}

func ledgerEvents(first int, hour time.Time) []usage.Event {
	events := make([]usage.Event, eventsPerRequest)
	for i := range events {
		events[i] = ledgerEvent(first+i, hour)
	}
	return events
}

func ledgerEvent(n int, hour time.Time) usage.Event {
	e := usage.Event{
		ID: fmt.Sprintf("req_%016x", mix(uint64(n))), Customer: fmt.Sprint("customer-", n%97), UserID: fmt.Sprint("user-", n%31),
		Timestamp: usage.MicrosOf(hour.Add(time.Duration(n%1_000_000) * 3600 * time.Microsecond)), Model: "claude-4.5-sonnet", Feature: "chat", Source: usage.SourceAPI,
		Lines: []usage.Line{{Meter: usage.MeterTokensIn, Quantity: usage.Units(int64(1000 + n%1000))}},
	}
	e.Normalize()
	return e
}
