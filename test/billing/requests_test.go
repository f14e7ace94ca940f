package billing

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"testing"

	"github.com/Metronome-Industries/metronome-go"
	"github.com/Metronome-Industries/metronome-go/option"
	"github.com/cloudevents/sdk-go/v2/binding"
	"github.com/cloudevents/sdk-go/v2/event"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"
	"github.com/google/go-cmp/cmp"
	"github.com/stripe/stripe-go/v85"

	"github.com/usagebox/otelcol-usagebox/internal/feed"
	"github.com/usagebox/otelcol-usagebox/internal/feed/biller"
)

// stripeClient is Stripe's SDK with all its hosts at one address.
func stripeClient(endpoint, key string) *stripe.Client {
	return stripe.NewClient(key, stripe.WithBackends(stripe.NewBackendsWithConfig(&stripe.BackendConfig{
		URL: &endpoint, MaxNetworkRetries: new(int64), EnableTelemetry: new(bool), LeveledLogger: &stripe.LeveledLogger{Level: stripe.LevelNull},
	})))
}

func stripePayload(r *feed.Record) map[string]string {
	payload := properties(r)
	payload["stripe_customer_id"] = r.ExternalCustomer
	return payload
}

func stripeEvent(r *feed.Record) *stripe.BillingMeterEventCreateParams {
	seconds := r.Time().Unix()
	return &stripe.BillingMeterEventCreateParams{EventName: &r.Meter, Identifier: &r.ID, Payload: stripePayload(r), Timestamp: &seconds}
}

func stripeStream(all []*feed.Record) *stripe.V2BillingMeterEventStreamCreateParams {
	params := &stripe.V2BillingMeterEventStreamCreateParams{}
	for _, r := range all {
		at := r.Time()
		params.Events = append(params.Events, &stripe.V2BillingMeterEventStreamCreateEventParams{
			EventName: &r.Meter, Identifier: &r.ID, Payload: stripePayload(r), Timestamp: &at,
		})
	}
	return params
}

// cloudEvents are records as the SDK of CloudEvents builds events.
func cloudEvents(t *testing.T, all []*feed.Record, kind func(*feed.Record) (string, any)) []event.Event {
	t.Helper()
	var events []event.Event
	for _, r := range all {
		name, data := kind(r)
		e := event.New()
		e.SetID(r.ID)
		e.SetSource("/usagebox/" + r.Writer)
		e.SetType(name)
		e.SetSubject(r.ExternalCustomer)
		e.SetTime(r.Time())
		if err := e.SetData(event.ApplicationJSON, data); err != nil {
			t.Fatal(err)
		}
		events = append(events, e)
	}
	return events
}

func ofOpenMeter(r *feed.Record) (string, any) { return r.Meter, properties(r) }

func ofWebhook(r *feed.Record) (string, any) { return biller.EventType, r }

func post(r *http.Request, key string) error {
	if key != "" {
		r.Header.Set("Authorization", "Bearer "+key)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	if answer.StatusCode >= 300 {
		return errors.New(answer.Status)
	}
	return answer.Body.Close()
}

// Each vendor's SDK and the feed are given the same usage: the same requests come, and our own servers take them alike.
func TestTheFeedSendsWhatVendorsSDKsSend(t *testing.T) {
	structured := binding.WithForceStructured(context.Background())
	for _, c := range []struct {
		name, kind string
		receiver   func(endpoint string) feed.Receiver
		sdk        func(endpoint string, all []*feed.Record) error
	}{
		{
			"stripe v1", "stripe",
			func(endpoint string) feed.Receiver { return stripeReceiver(endpoint, "key", false) },
			func(endpoint string, all []*feed.Record) error {
				for _, r := range all {
					if _, err := stripeClient(endpoint, "key").V1BillingMeterEvents.Create(t.Context(), stripeEvent(r)); err != nil {
						return err
					}
				}
				return nil
			},
		},
		{
			"stripe v2", "stripe",
			func(endpoint string) feed.Receiver { return stripeReceiver(endpoint, "key", true) },
			func(endpoint string, all []*feed.Record) error {
				session, err := stripeClient(endpoint, "key").V2BillingMeterEventSessions.Create(t.Context(), &stripe.V2BillingMeterEventSessionCreateParams{})
				if err != nil {
					return err
				}
				return stripeClient(endpoint, session.AuthenticationToken).V2BillingMeterEventStreams.Create(t.Context(), stripeStream(all))
			},
		},
		{
			"metronome", "metronome",
			func(endpoint string) feed.Receiver { return eventsReceiver(endpoint, biller.Metronome) },
			func(endpoint string, all []*feed.Record) error {
				var params metronome.V1UsageIngestParams
				for _, r := range all {
					of := map[string]any{}
					for name, value := range properties(r) {
						of[name] = value
					}
					params.Usage = append(params.Usage, metronome.V1UsageIngestParamsUsage{
						TransactionID: r.ID, CustomerID: r.ExternalCustomer, EventType: r.Meter, Timestamp: r.Timestamp, Properties: of,
					})
				}
				sdk := metronome.NewClient(option.WithBaseURL(endpoint), option.WithBearerToken("key"), option.WithMaxRetries(0))
				return sdk.V1.Usage.Ingest(t.Context(), params)
			},
		},
		{
			"openmeter", "openmeter",
			func(endpoint string) feed.Receiver { return eventsReceiver(endpoint, biller.OpenMeter) },
			func(endpoint string, all []*feed.Record) error {
				r, err := cehttp.NewHTTPRequestFromEvents(t.Context(), endpoint+"/api/v1/events", cloudEvents(t, all, ofOpenMeter))
				if err != nil {
					return err
				}
				return post(r, "key")
			},
		},
		{
			"webhook", "webhook",
			func(endpoint string) feed.Receiver { return webhookReceiver(t, endpoint+"/hook", 1) },
			func(endpoint string, all []*feed.Record) error {
				for _, e := range cloudEvents(t, all, ofWebhook) {
					r, err := cehttp.NewHTTPRequestFromEvent(structured, endpoint+"/hook", e)
					if err != nil {
						return err
					}
					r.Header.Set("Webhook-Id", e.ID())
					r.Header.Set("Webhook-Timestamp", "1")
					if err := post(r, ""); err != nil {
						return err
					}
				}
				return nil
			},
		},
		{
			"webhook batch", "webhook",
			func(endpoint string) feed.Receiver { return webhookReceiver(t, endpoint+"/hook", 20) },
			func(endpoint string, all []*feed.Record) error {
				r, err := cehttp.NewHTTPRequestFromEvents(t.Context(), endpoint+"/hook", cloudEvents(t, all, ofWebhook))
				if err != nil {
					return err
				}
				r.Header.Set("Webhook-Id", "batch")
				r.Header.Set("Webhook-Timestamp", "1")
				return post(r, "")
			},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			ours, theirs := honest(t, c.kind), honest(t, c.kind)
			feedWire, sdkWire := listen(t, ours), listen(t, theirs)
			deliver(t, c.receiver(feedWire.url), records())
			if err := c.sdk(sdkWire.url, records()); err != nil {
				t.Fatalf("the SDK was not served: %v", err)
			}
			got, want := feedWire.all(), sdkWire.all()
			if len(got) != len(want) || len(got) == 0 {
				t.Fatalf("%d requests, the SDK makes %d", len(got), len(want))
			}
			for i := range got {
				if got[i].method != want[i].method || got[i].path != want[i].path || got[i].header.Get("Authorization") != want[i].header.Get("Authorization") {
					t.Errorf("%s %s as %q, the SDK makes %s %s as %q", got[i].method, got[i].path, got[i].header.Get("Authorization"),
						want[i].method, want[i].path, want[i].header.Get("Authorization"))
				}
				if diff := cmp.Diff(content(t, want[i]), content(t, got[i])); diff != "" {
					t.Errorf("request %d is not what the SDK sends (-SDK +feed):\n%s", i, diff)
				}
			}
			billed := theirs.Billed()
			for account, n := range ours.Billed() {
				if billed[account] == nil || billed[account].Cmp(n) != 0 {
					t.Errorf("%+v: %s is billed, %v when the SDK sends", account, n, billed[account])
				}
				delete(billed, account)
			}
			if len(billed) > 0 {
				t.Errorf("only the SDK's usage is billed: %v", billed)
			}
		})
	}
}

// What the feed sends as CloudEvents is read by their SDK, is valid as the specification says, and says the same of the record.
func TestCloudEventsOfTheFeedAreValid(t *testing.T) {
	for _, c := range []struct {
		name     string
		receiver func(endpoint string) feed.Receiver
		batch    bool
		kind     func(*feed.Record) (string, any)
	}{
		{"openmeter", func(endpoint string) feed.Receiver { return eventsReceiver(endpoint, biller.OpenMeter) }, true, ofOpenMeter},
		{"webhook", func(endpoint string) feed.Receiver { return webhookReceiver(t, endpoint, 1) }, false, ofWebhook},
		{"webhook batch", func(endpoint string) feed.Receiver { return webhookReceiver(t, endpoint, 3) }, true, ofWebhook},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := listen(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
			deliver(t, c.receiver(w.url), records())
			var got []event.Event
			for _, r := range w.all() {
				got = append(got, read(t, r, c.batch)...)
			}
			want := cloudEvents(t, records(), c.kind)
			if len(got) != len(want) {
				t.Fatalf("%d events came of %d", len(got), len(want))
			}
			for i := range got {
				if err := got[i].Validate(); err != nil {
					t.Errorf("%s: %v", got[i].ID(), err)
				}
				if diff := cmp.Diff(want[i].Context.AsV1(), got[i].Context.AsV1()); diff != "" {
					t.Errorf("event %d (-SDK +feed):\n%s", i, diff)
				}
				if diff := cmp.Diff(jsonValue(t, want[i].Data()), jsonValue(t, got[i].Data())); diff != "" {
					t.Errorf("the data of event %d (-SDK +feed):\n%s", i, diff)
				}
			}
		})
	}
}

func read(t *testing.T, r request, batch bool) []event.Event {
	t.Helper()
	parsed, err := http.NewRequest(r.method, r.path, bytes.NewReader(r.body))
	if err != nil {
		t.Fatal(err)
	}
	parsed.Header = r.header
	if cehttp.IsHTTPBatch(r.header) != batch {
		t.Fatalf("the content type is %q", r.header.Get("Content-Type"))
	}
	if batch {
		events, err := cehttp.NewEventsFromHTTPRequest(parsed)
		if err != nil {
			t.Fatal(err)
		}
		return events
	}
	if mode := cehttp.NewMessageFromHttpRequest(parsed).ReadEncoding(); mode != binding.EncodingStructured {
		t.Fatalf("the event's mode is %s", mode)
	}
	one, err := cehttp.NewEventFromHTTPRequest(parsed)
	if err != nil {
		t.Fatal(err)
	}
	return []event.Event{*one}
}
