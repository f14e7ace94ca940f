package billing

import (
	"bytes"
	"encoding/json"
	"io"
	"mime"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/usagebox/otelcol-usagebox/internal/feed"
	"github.com/usagebox/otelcol-usagebox/internal/feed/biller"
	"github.com/usagebox/otelcol-usagebox/test/billers"
)

// now is the time of every record, server and signature, but where an SDK insists on the real one.
var now = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

func clock() time.Time { return now }

// webhookSecret is the one of Standard Webhooks' own tests.
const webhookSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

// request is one as it came.
type request struct {
	method, path string
	header       http.Header
	body         []byte
}

// wire is a server that keeps what it is sent.
type wire struct {
	url string

	mu       sync.Mutex
	requests []request
}

// listen starts a server that hands on to another handler what it has kept.
func listen(t *testing.T, handler http.Handler) *wire {
	t.Helper()
	w := &wire{}
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Errorf("%s %s: %v", r.Method, r.URL.Path, err)
		}
		w.mu.Lock()
		w.requests = append(w.requests, request{r.Method, r.URL.RequestURI(), r.Header.Clone(), body})
		w.mu.Unlock()
		r.Body = io.NopCloser(bytes.NewReader(body))
		handler.ServeHTTP(rw, r)
	}))
	t.Cleanup(server.Close)
	w.url = server.URL
	return w
}

func (w *wire) all() []request {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]request(nil), w.requests...)
}

// honest is a biller that tells the truth, of which nothing was asked that its vendor doesn't document.
func honest(t *testing.T, kind string) *billers.Server {
	t.Helper()
	server := billers.New(kind, clock, 24*time.Hour, nil)
	t.Cleanup(func() {
		for _, e := range server.Errors() {
			t.Errorf("the vendor does not document what was sent: %s", e)
		}
	})
	return server
}

// client is how the feed reaches a server.
func client(endpoint string) biller.Client {
	return biller.Client{HTTP: http.DefaultClient, Endpoint: endpoint, Clock: clock}
}

func stripeReceiver(endpoint, key string, stream bool) *biller.Stripe {
	return &biller.Stripe{
		Client: client(endpoint), Key: key, Version: biller.StripeVersion, Stream: stream, StreamEndpoint: endpoint, CustomerKey: "stripe_customer_id", ValueKey: "value",
	}
}

func eventsReceiver(endpoint string, p biller.Protocol) *biller.Events {
	return &biller.Events{Client: client(endpoint), Protocol: p, Key: "key", Value: "value"}
}

func webhookReceiver(t *testing.T, endpoint string, batch int) *biller.Webhook {
	t.Helper()
	key, err := biller.SecretKey(webhookSecret)
	if err != nil {
		t.Fatal(err)
	}
	return &biller.Webhook{Client: client(endpoint), Key: key, Batch: batch}
}

// records have what may be misread on the way: signs, long numbers, no dimensions, dimensions and customers of any characters.
func records() []*feed.Record {
	record := func(id, customer, value, at string, dimensions map[string]string) *feed.Record {
		return &feed.Record{
			ID: "ubx_" + strings.Repeat("0", 31) + id, Customer: customer, ExternalCustomer: customer, Meter: "tokens", Unit: "token", Quantity: value, Value: value,
			Hour: at[:len("2026-11-24T10")] + ":00:00Z", Revision: 1, Dimensions: dimensions, Timestamp: at, CreatedAt: at, Writer: "main-1",
		}
	}
	return []*feed.Record{
		record("1", "cus_acme", "1250", "2026-11-24T10:15:30Z", map[string]string{"model": "claude", "region": "eu & us=1"}),
		record("2", "cus_acme", "-999999999999999", "2026-11-24T11:59:59.123Z", nil),
		record("3", "Ünïcøde \"quoted\" <b>%5B]", "7", "2026-11-01T00:00:00.5Z", map[string]string{"feature": "50% + \\ \"x\" \u2028 日本"}),
		record("4", "cus_beta", "0", "2026-11-23T23:00:00.000Z", map[string]string{}),
	}
}

// deliver sends records in calls as large as the receiver takes.
func deliver(t *testing.T, r feed.Receiver, all []*feed.Record) {
	t.Helper()
	for len(all) > 0 {
		n := min(len(all), r.Limits().Batch)
		for i, o := range r.Send(t.Context(), all[:n]) {
			if o.Fate != feed.Delivered {
				t.Fatalf("%s is not delivered: %s %v", all[i].ID, o.Reason, o.Err)
			}
		}
		all = all[n:]
	}
}

// properties are what a vendor's event says of a record beside its customer, meter, id and time.
func properties(r *feed.Record) map[string]string {
	all := map[string]string{"value": r.Value}
	for name, value := range r.Dimensions {
		all[name] = value
	}
	return all
}

// content is a body in a form in which two that mean the same are equal: forms by key, JSON by value, times in UTC.
func content(t *testing.T, r request) any {
	t.Helper()
	kind, _, err := mime.ParseMediaType(r.header.Get("Content-Type"))
	if err != nil {
		t.Fatalf("%s %s has the content type %q: %v", r.method, r.path, r.header.Get("Content-Type"), err)
	}
	if kind == "application/x-www-form-urlencoded" {
		form, err := url.ParseQuery(string(r.body))
		if err != nil {
			t.Fatal(err)
		}
		return map[string]any{"form": form}
	}
	return map[string]any{kind: jsonValue(t, r.body)}
}

func jsonValue(t *testing.T, text []byte) any {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var value any
	if err := d.Decode(&value); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return utc(value)
}

// utc writes every time in a JSON value in one way.
func utc(value any) any {
	switch v := value.(type) {
	case map[string]any:
		for name := range v {
			v[name] = utc(v[name])
		}
	case []any:
		for i := range v {
			v[i] = utc(v[i])
		}
	case string:
		if at, err := time.Parse(time.RFC3339Nano, v); err == nil {
			return at.UTC().Format(time.RFC3339Nano)
		}
	}
	return value
}
