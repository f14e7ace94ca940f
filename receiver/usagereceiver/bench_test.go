package usagereceiver

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/receiver/receivertest"

	"github.com/usagebox/otelcol-usagebox/receiver/usagereceiver/internal/metadata"
	"github.com/usagebox/otelcol-usagebox/usage"
)

type discard struct{}

func (discard) Capabilities() consumer.Capabilities          { return consumer.Capabilities{} }
func (discard) ConsumeLogs(context.Context, plog.Logs) error { return nil }

func thousand() []byte {
	b := []byte("[")
	for i := range 1000 {
		if i > 0 {
			b = append(b, ',')
		}
		b = fmt.Appendf(b, `{"event_id":"req_%08d","account_id":"acme-%d","meter":"llm_tokens_in","model":"claude-4.5-sonnet","quantity":%d,"timestamp":"2026-05-16T18:42:11Z"}`, i, i%20, i)
	}
	return append(b, ']')
}

// BenchmarkParse reads an array of 1,000 events into events.
func BenchmarkParse(b *testing.B) {
	body := thousand()
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		p := newParser(1000, usage.MicrosOf(now))
		if err := p.json(bytes.NewReader(body)); err != nil || len(p.events) != 1000 {
			b.Fatal(err, len(p.events))
		}
		p.release()
	}
	b.ReportMetric(float64(b.N)*1000/b.Elapsed().Seconds(), "events/s")
}

// BenchmarkPost answers a request of 1,000 events, without the network and without a ledger behind it.
func BenchmarkPost(b *testing.B) {
	r, err := newReceiver(receivertest.NewNopSettings(metadata.Type), createDefaultConfig().(*Config), discard{}, func() time.Time { return now })
	if err != nil {
		b.Fatal(err)
	}
	handler, body := r.handler(), thousand()
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, httptest.NewRequest(http.MethodPost, pathEvents, bytes.NewReader(body)))
		if w.Code != http.StatusAccepted {
			b.Fatal(w.Code)
		}
	}
	b.ReportMetric(float64(b.N)*1000/b.Elapsed().Seconds(), "events/s")
}
