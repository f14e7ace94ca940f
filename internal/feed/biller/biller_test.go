package biller

import (
	"context"
	"fmt"
	"math/big"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/usagebox/otelcol-usagebox/internal/feed"
	"github.com/usagebox/otelcol-usagebox/test/billers"
)

var testNow = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

func testClock() time.Time { return testNow }

// receivers are one of each protocol, with what a record of theirs must be.
func receivers(endpoint string) map[string]feed.Receiver {
	client := Client{HTTP: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}, Endpoint: endpoint, Secrets: []string{"key"}, Clock: testClock}
	stripe := func(stream bool) *Stripe {
		return &Stripe{
			Client: client, Key: "key", Version: StripeVersion, Stream: stream, StreamEndpoint: endpoint, CustomerKey: "stripe_customer_id", ValueKey: "value",
		}
	}
	events := func(p Protocol) *Events { return &Events{Client: client, Protocol: p, Key: "key", Value: "value"} }
	key, _ := SecretKey("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	return map[string]feed.Receiver{
		"stripe v1": stripe(false), "stripe v2": stripe(true), "metronome": events(Metronome), "openmeter": events(OpenMeter), "lago": events(Lago),
		"orb": events(Orb), "flexprice": events(Flexprice), "webhook": &Webhook{Client: client, Key: key}, "webhook batch": &Webhook{Client: client, Batch: 20},
	}
}

func record(n int, customer, value string) *feed.Record {
	at := testNow.Add(-time.Duration(n%50) * time.Hour)
	return &feed.Record{
		ID: fmt.Sprintf("ubx_%032d", n), Customer: customer, ExternalCustomer: customer, Meter: "tokens", Unit: "token", Quantity: value, Value: value,
		Hour: at.Truncate(time.Hour).Format(time.RFC3339), Revision: 1, Dimensions: map[string]string{"model": "claude"}, Timestamp: at.Format(time.RFC3339Nano), Writer: "main",
	}
}

// Every protocol, to a server that checks what the vendor documents and lies: what it would bill is what was sent, once, without the records that it refuses for good.
func TestWhatIsBilledIsWhatWasSentHoweverTheBillerLies(t *testing.T) {
	for name := range receivers("") {
		t.Run(name, func(t *testing.T) {
			for seed := range 15 {
				random := rand.New(rand.NewPCG(uint64(seed), 3))
				server := billers.New(strings.Fields(name)[0], testClock, 24*time.Hour, random)
				web := httptest.NewServer(server)
				want := send(t, receivers(web.URL)[name], random)
				web.Close()
				if errs := server.Errors(); len(errs) > 0 {
					t.Fatalf("seed %d: the vendor does not document %q", seed, errs[0])
				}
				if twice := server.Twice(); len(twice) > 0 {
					t.Fatalf("seed %d: counted twice: %v", seed, twice)
				}
				got := server.Billed()
				for a, n := range want {
					if got[a] == nil || got[a].Cmp(n) != 0 {
						t.Fatalf("seed %d: %+v: %v is billed, %v was sent", seed, a, got[a], n)
					}
				}
				if len(got) != len(want) {
					t.Fatalf("seed %d: %d accounts are billed, %d were sent", seed, len(got), len(want))
				}
			}
		})
	}
}

// send sends until each record is delivered or refused, and says what is to be billed.
func send(t *testing.T, r feed.Receiver, random *rand.Rand) map[billers.Account]*big.Rat {
	t.Helper()
	want := map[billers.Account]*big.Rat{}
	var waiting []*feed.Record
	for i := range 60 {
		customer, value := []string{"acme", "beta", "unwanted"}[random.IntN(3)], fmt.Sprint(random.IntN(100_000)-1000)
		one := record(i, customer, value)
		waiting = append(waiting, one)
		if customer != "unwanted" || refusesLater(r) == nil {
			hour, _ := time.Parse(time.RFC3339, one.Hour)
			a := billers.Account{Customer: customer, Meter: "tokens", Hour: hour}
			if want[a] == nil {
				want[a] = new(big.Rat)
			}
			n, _ := new(big.Rat).SetString(value)
			want[a].Add(want[a], n)
		}
	}
	alone := map[*feed.Record]bool{}
	for round := 0; len(waiting) > 0; round++ {
		if round > 2000 {
			t.Fatalf("%d records are never taken", len(waiting))
		}
		n := min(len(waiting), r.Limits().Batch)
		if alone[waiting[0]] {
			n = 1
		}
		call := waiting[:n:n]
		waiting = waiting[n:]
		for i, o := range r.Send(context.Background(), call) {
			switch o.Fate {
			case feed.Delivered:
			case feed.Refused:
				if call[i].Customer != "unwanted" {
					t.Fatalf("a good record was refused: %s, %v", o.Reason, o.Err)
				}
			default:
				if o.Err == nil || strings.Contains(o.Err.Error(), "key\"") {
					t.Fatalf("an error says %v", o.Err)
				}
				alone[call[i]] = o.Alone
				waiting = append(waiting, call[i])
			}
		}
	}
	return want
}

// refusesLater is nil for receivers that take what customer it ever is.
func refusesLater(r feed.Receiver) feed.Receiver {
	switch v := r.(type) {
	case *Webhook:
		return nil
	case *Events:
		if v.Protocol.path == OpenMeter.path || v.Protocol.path == Flexprice.path {
			return nil
		}
	}
	return r
}

func TestNothingWasSentWhenNobodyListens(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := "http://" + l.Addr().String()
	_ = l.Close()
	for name, r := range receivers(address) {
		o := r.Send(context.Background(), []*feed.Record{record(1, "acme", "5")})[0]
		if o.Fate != feed.NotTaken || !o.All || o.Err == nil || strings.Contains(o.Err.Error(), "http://") {
			t.Errorf("%s: %+v", name, o)
		}
	}
}

func TestAnswersSayWhatBecameOfRecords(t *testing.T) {
	for _, c := range []struct {
		status int
		header string
		body   string
		n      int
		want   feed.Outcome
	}{
		{200, "", "", 2, feed.Outcome{Fate: feed.Delivered}},
		{401, "", "", 1, feed.Outcome{Fate: feed.NotTaken, All: true}},
		{404, "", "", 1, feed.Outcome{Fate: feed.NotTaken, All: true}},
		{410, "", "", 1, feed.Outcome{Fate: feed.NotTaken, All: true, Wait: time.Hour}},
		{409, "", "", 1, feed.Outcome{Fate: feed.NotTaken}},
		{429, "7", "", 1, feed.Outcome{Fate: feed.NotTaken, All: true, Wait: 7 * time.Second}},
		{429, testNow.Add(time.Minute).Format(http.TimeFormat), "", 1, feed.Outcome{Fate: feed.NotTaken, All: true, Wait: time.Minute}},
		{500, "", "", 1, feed.Outcome{Fate: feed.Unknown, All: true}},
		{503, "3", "", 1, feed.Outcome{Fate: feed.Unknown, All: true, Wait: 3 * time.Second}},
		{400, "", "", 2, feed.Outcome{Fate: feed.NotTaken, Alone: true}},
		{400, "", "", 1, feed.Outcome{Fate: feed.Refused, Reason: "http_400"}},
		{301, "", "", 1, feed.Outcome{Fate: feed.NotTaken, All: true}},
	} {
		client := Client{Clock: testClock, Secrets: []string{"sk_live"}}
		got := client.judged(c.n, answer{c.status, http.Header{"Retry-After": {c.header}}, []byte(c.body + "sk_live")})
		if len(got) != c.n {
			t.Fatalf("%d outcomes", len(got))
		}
		if got[0].Err != nil && strings.Contains(got[0].Err.Error(), "sk_live") {
			t.Errorf("a secret is in %v", got[0].Err)
		}
		got[0].Err = nil
		if got[0] != c.want {
			t.Errorf("%d, Retry-After %q: %+v, want %+v", c.status, c.header, got[0], c.want)
		}
	}
}

func TestStripesLimitsAreHeldBeforeSending(t *testing.T) {
	s := receivers("")["stripe v1"]
	for _, c := range []struct {
		change func(*feed.Record)
		reason string
	}{
		{func(*feed.Record) {}, ""},
		{func(r *feed.Record) { r.Value = "-999999999999999" }, ""},
		{func(r *feed.Record) { r.Value = "1000000000000000" }, "meter_event_value_too_many_digits"},
		{func(r *feed.Record) { r.Meter = strings.Repeat("m", 101) }, "event_name_too_long"},
		{func(r *feed.Record) { r.Timestamp = "2026-10-20T12:00:00Z" }, "timestamp_too_far_in_past"},
		{func(r *feed.Record) { r.Timestamp = "2026-11-24T12:05:00Z" }, "timestamp_in_future"},
	} {
		r := record(0, "acme", "5")
		c.change(r)
		if reason, detail := s.Check(r, testNow); reason != c.reason || (reason == "") != (detail == "") {
			t.Errorf("%+v: %q, %q; want %q", r, reason, detail, c.reason)
		}
	}
}

func TestStripeIsAskedWhatItHas(t *testing.T) {
	server := billers.New("stripe", testClock, 24*time.Hour, nil)
	web := httptest.NewServer(server)
	defer web.Close()
	s := receivers(web.URL)["stripe v1"].(*Stripe)
	hour := testNow.Truncate(time.Hour)
	if has, err := s.Received(context.Background(), "acme", "tokens", hour); err != nil || has != "0" {
		t.Fatalf("%q, %v", has, err)
	}
	for i, value := range []string{"1250", "-50"} {
		r := record(50*(i+1), "acme", value)
		if o := s.Send(context.Background(), []*feed.Record{r})[0]; o.Fate != feed.Delivered {
			t.Fatalf("%+v", o)
		}
	}
	if has, err := s.Received(context.Background(), "acme", "tokens", hour); err != nil || has != "1200" {
		t.Fatalf("%q, %v", has, err)
	}
	if _, err := s.Received(context.Background(), "acme", "nothing", hour); err == nil {
		t.Fatal("a meter that Stripe doesn't have has a sum")
	}
}

// The vector is from the specification of Standard Webhooks.
func TestSignaturesAreThoseOfStandardWebhooks(t *testing.T) {
	key, err := SecretKey("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	if err != nil {
		t.Fatal(err)
	}
	got := Sign(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", time.Unix(1614265330, 0), []byte(`{"test": 2432232314}`))
	if want := "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="; got != want {
		t.Fatalf("%s, want %s", got, want)
	}
	for _, secret := range []string{"", "whsec_", "whsec_!!", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_c2hvcnQ="} {
		if _, err := SecretKey(secret); err == nil {
			t.Errorf("%q is taken for a secret", secret)
		}
	}
}
