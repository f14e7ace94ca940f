package main

import (
	"context"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"
	"time"

	"github.com/usagebox/otelcol-usagebox/internal/feed"
	"github.com/usagebox/otelcol-usagebox/internal/feed/biller"
)

func TestRecordsCountOnceAcrossARestartAndOnlyWhenTheyAreSigned(t *testing.T) {
	const secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	path := filepath.Join(t.TempDir(), "records.ndjson")
	send := func(b *book, secret string, r *feed.Record) feed.Outcome {
		server := httptest.NewServer(b)
		defer server.Close()
		key, err := biller.SecretKey(secret)
		if err != nil {
			t.Fatal(err)
		}
		hook := &biller.Webhook{Client: biller.Client{HTTP: http.DefaultClient, Endpoint: server.URL, Clock: time.Now}, Key: key}
		return hook.Send(context.Background(), []*feed.Record{r})[0]
	}
	one := &feed.Record{ID: "ubx_1", Customer: "acme", ExternalCustomer: "acme", Meter: "tokens", Quantity: "12.5", Value: "12.5", Timestamp: "2026-11-24T12:00:00Z"}
	two := &feed.Record{ID: "ubx_2", Customer: "acme", ExternalCustomer: "acme", Meter: "tokens", Quantity: "-2.5", Value: "-2.5", Timestamp: "2026-11-24T12:00:00Z"}
	for range 2 {
		b, err := open(path, secret)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range []*feed.Record{one, one, two} {
			if o := send(b, secret, r); o.Fate != feed.Delivered {
				t.Fatalf("%+v", o)
			}
		}
		if o := send(b, "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", two); o.Fate != feed.NotTaken {
			t.Fatalf("a message with another signature: %+v", o)
		}
		if sum := b.sums["acme tokens"].RatString(); sum != "10" {
			t.Fatalf("acme used %s", sum)
		}
		if err := b.file.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
