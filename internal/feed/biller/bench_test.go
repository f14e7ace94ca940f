package biller

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/usagebox/otelcol-usagebox/internal/feed"
	"github.com/usagebox/otelcol-usagebox/internal/ledger"
	"github.com/usagebox/otelcol-usagebox/usage"
)

// BenchmarkLocalReceiver brings an hour's 20,000 records from a real ledger over HTTP to a receiver on the same machine that takes everything, with the calls of each
// protocol: from the first look at the hour until all is delivered.
func BenchmarkLocalReceiver(b *testing.B) {
	for name, receiver := range map[string]func(Client) feed.Receiver{
		"stripe-v1": func(c Client) feed.Receiver {
			return &Stripe{Client: c, Key: "key", CustomerKey: "stripe_customer_id", ValueKey: "value"}
		},
		"stripe-v2": func(c Client) feed.Receiver {
			return &Stripe{Client: c, Key: "key", CustomerKey: "stripe_customer_id", ValueKey: "value", Stream: true, StreamEndpoint: c.Endpoint}
		},
		"webhook": func(c Client) feed.Receiver { return &Webhook{Client: c, Batch: 1} },
		"orb":     func(c Client) feed.Receiver { return &Events{Client: c, Protocol: Orb, Key: "key", Value: "value"} },
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				bringAnHour(b, receiver)
				b.StartTimer()
			}
		})
	}
}

func bringAnHour(b *testing.B, receiver func(Client) feed.Receiver) {
	const customers, meters = 4000, 5
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if strings.HasSuffix(r.URL.Path, "_session") {
			_, _ = io.WriteString(w, `{"authentication_token":"token","expires_at":"2100-01-01T00:00:00Z"}`)
		}
	}))
	defer server.Close()
	at, dir := time.Now().Add(-3*time.Hour), b.TempDir()
	l, err := ledger.Open(ledger.Options{Directory: dir, WriterID: "main", Manual: true})
	if err != nil {
		b.Fatal(err)
	}
	events := make([]usage.Event, customers)
	for i := range events {
		e := &events[i]
		*e = usage.Event{ID: fmt.Sprint("e", i), Customer: fmt.Sprintf("customer-%06d", i), Timestamp: usage.MicrosOf(at)}
		for m := range meters {
			e.Lines = append(e.Lines, usage.Line{Meter: fmt.Sprint("meter", m), Quantity: usage.Units(int64(1 + i + m))})
		}
		e.Normalize()
	}
	if r, err := l.Append(context.Background(), events); err != nil || r.Accepted != customers {
		b.Fatal(r, err)
	}
	for _, do := range []func(context.Context) error{l.Flush, l.Seal} {
		if err := do(context.Background()); err != nil {
			b.Fatal(err)
		}
	}
	transport := &http.Transport{MaxIdleConnsPerHost: 64}
	defer transport.CloseIdleConnections()
	m := feed.Mapping{}
	if err := m.Validate(); err != nil {
		b.Fatal(err)
	}
	start := time.Now()
	f, err := feed.Open(feed.Options{Books: l, Directory: dir, Writer: "main", Receivers: []feed.Spec{{
		Name: "r", Receiver: receiver(Client{HTTP: &http.Client{Transport: transport}, Endpoint: server.URL, Clock: time.Now}), Mapping: m,
		Workers: 64, Rate: 10_000, From: new(usage.Hour),
	}}})
	if err != nil {
		b.Fatal(err)
	}
	for {
		all, err := f.StatusNow(false)
		if err != nil {
			b.Fatal(err)
		}
		if all[0].Delivered == customers*meters {
			break
		}
		time.Sleep(time.Millisecond) // others work meanwhile
	}
	b.ReportMetric(customers*meters/time.Since(start).Seconds(), "records/s")
	if err := f.Close(); err != nil {
		b.Fatal(err)
	}
	if err := l.Close(); err != nil {
		b.Fatal(err)
	}
}
