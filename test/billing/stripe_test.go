package billing

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stripe/stripe-go/v85"
	"github.com/stripe/stripe-go/v85/webhook"
	"github.com/stripe/stripe-mock/embedded"
	"github.com/stripe/stripe-mock/server"

	"github.com/usagebox/otelcol-usagebox/internal/feed"
	"github.com/usagebox/otelcol-usagebox/internal/feed/biller"
)

// mockKey is of the form that stripe-mock takes.
const mockKey = "sk_test_123"

// stripeMock is Stripe's own server, which checks parameters against Stripe's specification.
func stripeMock(t *testing.T) http.Handler {
	t.Helper()
	spec, err := server.LoadSpec(embedded.OpenAPISpec, "")
	if err != nil {
		t.Fatal(err)
	}
	fixtures, err := server.LoadFixtures(embedded.OpenAPIFixtures, "")
	if err != nil {
		t.Fatal(err)
	}
	stub, err := server.NewStubServer(fixtures, spec, false, false)
	if err != nil {
		t.Fatal(err)
	}
	return http.HandlerFunc(stub.HandleRequest)
}

func TestStripeMockTakesWhatTheFeedSends(t *testing.T) {
	mock := stripeMock(t)
	t.Run("meter events", func(t *testing.T) {
		w := listen(t, mock)
		deliver(t, stripeReceiver(w.url, mockKey, false), records())
		if n := len(w.all()); n != len(records()) {
			t.Errorf("%d requests for %d records", n, len(records()))
		}
	})
	t.Run("questions for what was received", func(t *testing.T) {
		w := listen(t, mock)
		s := stripeReceiver(w.url, mockKey, false)
		meters := stripeClient(w.url, mockKey).V1BillingMeters.List(t.Context(), &stripe.BillingMeterListParams{})
		name := ""
		for m, err := range meters.All(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			name = m.EventName
			break
		}
		if _, err := s.Received(t.Context(), "cus_acme", name, now.Truncate(time.Hour)); err != nil {
			t.Errorf("asked for meter %q: %v", name, err)
		}
	})
}

// The mock refuses each of these, so that what it takes is known to be checked.
func TestStripeMockRefusesWhatIsWrong(t *testing.T) {
	mock := httptest.NewServer(stripeMock(t))
	defer mock.Close()
	right := "event_name=tokens&payload[stripe_customer_id]=cus_acme&payload[value]=1&identifier=ubx_1&timestamp=1795521600"
	for _, c := range []struct{ name, key, body string }{
		{"a parameter that it doesn't know", mockKey, right + "&customer=cus_acme"},
		{"no name", mockKey, strings.Replace(right, "event_name=tokens&", "", 1)},
		{"no payload", mockKey, "event_name=tokens&identifier=ubx_1"},
		{"a time that is no number", mockKey, strings.Replace(right, "1795521600", "2026-11-24T12:00:00Z", 1)},
		{"a payload that is no map", mockKey, "event_name=tokens&payload=1"},
		{"no key of Stripe", "key", right},
		{"", mockKey, right},
	} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, mock.URL+"/v1/billing/meter_events", strings.NewReader(c.body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Authorization", "Bearer "+c.key)
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = answer.Body.Close()
		if refused := answer.StatusCode >= 400; refused != (c.name != "") {
			t.Errorf("%q: %s", c.name, answer.Status)
		}
	}
	o := stripeReceiver(mock.URL, "key", false).Send(t.Context(), records()[:1])[0]
	if o.Fate != feed.NotTaken || !o.All || o.Err == nil {
		t.Errorf("a wrong key: %+v", o)
	}
}

// What our own server says is read by Stripe's SDK as what it stands for.
func TestOurStripesAnswersAreReadByTheSDK(t *testing.T) {
	w := listen(t, honest(t, "stripe"))
	r := records()[0]
	sdk := stripeClient(w.url, "key")
	event, err := sdk.V1BillingMeterEvents.Create(t.Context(), stripeEvent(r))
	if err != nil || event.Identifier != r.ID {
		t.Fatalf("%+v, %v", event, err)
	}
	_, err = sdk.V1BillingMeterEvents.Create(t.Context(), stripeEvent(r))
	var refused *stripe.Error
	if !errors.As(err, &refused) || refused.HTTPStatusCode != http.StatusBadRequest || refused.Type != stripe.ErrorTypeInvalidRequest {
		t.Errorf("the second of one identifier: %v", err)
	}
	var expired *stripe.TemporarySessionExpiredError
	if err := stripeClient(w.url, "token-of-yesterday").V2BillingMeterEventStreams.Create(t.Context(), stripeStream(records())); !errors.As(err, &expired) {
		t.Errorf("a session that is over: %v", err)
	}
	session, err := sdk.V2BillingMeterEventSessions.Create(t.Context(), &stripe.V2BillingMeterEventSessionCreateParams{})
	if err != nil || session.AuthenticationToken == "" || !session.ExpiresAt.After(now) || session.Object != "v2.billing.meter_event_session" {
		t.Errorf("%+v, %v", session, err)
	}
}

// Whatever status Stripe gives to it, an expired session is renewed and costs no record.
func TestExpiredSessionsAreRenewed(t *testing.T) {
	for _, status := range []int{http.StatusBadRequest, http.StatusUnauthorized} {
		for _, times := range []int{1, 2} {
			said, err := json.Marshal(map[string]any{"error": stripe.TemporarySessionExpiredError{
				Code: "billing_meter_event_session_expired", Type: stripe.ErrorTypeTemporarySessionExpired,
			}})
			if err != nil {
				t.Fatal(err)
			}
			truth, left := honest(t, "stripe"), times
			w := listen(t, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
				if strings.HasSuffix(r.URL.Path, "stream") && left > 0 {
					left--
					rw.WriteHeader(status)
					_, _ = rw.Write(said)
					return
				}
				truth.ServeHTTP(rw, r)
			}))
			receiver := stripeReceiver(w.url, "key", true)
			if times > 1 {
				if o := receiver.Send(t.Context(), records()[:1])[0]; o.Fate != feed.NotTaken || !o.All {
					t.Errorf("%d twice: %+v", status, o)
				}
			}
			deliver(t, receiver, records())
		}
	}
}

// meterReport is one of Stripe's, as its SDK has them.
func meterReport() *stripe.V1BillingMeterErrorReportTriggeredEvent {
	type (
		reason  = stripe.V1BillingMeterErrorReportTriggeredEventDataReason
		kind    = stripe.V1BillingMeterErrorReportTriggeredEventDataReasonErrorType
		sample  = stripe.V1BillingMeterErrorReportTriggeredEventDataReasonErrorTypeSampleError
		request = stripe.V1BillingMeterErrorReportTriggeredEventDataReasonErrorTypeSampleErrorRequest
	)
	return &stripe.V1BillingMeterErrorReportTriggeredEvent{
		V2BaseEvent: stripe.V2BaseEvent{ID: "evt_test_1", Object: "v2.core.event", Type: "v1.billing.meter.error_report_triggered", Created: now},
		Data: stripe.V1BillingMeterErrorReportTriggeredEventData{Reason: &reason{ErrorCount: 5, ErrorTypes: []*kind{
			{
				Code: stripe.V1BillingMeterErrorReportTriggeredEventDataReasonErrorTypeCodeMeterEventCustomerNotFound, ErrorCount: 4, SampleErrors: []*sample{
					{ErrorMessage: "no customer a", Request: &request{Identifier: "ubx_a"}}, {ErrorMessage: "no customer b", Request: &request{Identifier: "ubx_b"}},
				},
			},
			{
				Code: stripe.V1BillingMeterErrorReportTriggeredEventDataReasonErrorTypeCodeTimestampTooFarInPast, ErrorCount: 1,
				SampleErrors: []*sample{{ErrorMessage: "old", Request: &request{Identifier: "ubx_c"}}},
			},
		}}},
	}
}

// Stripe sends a notification without data, of which its SDK and we fetch the event: in both forms each refused record is named with its reason.
func TestStripesReportsAreRead(t *testing.T) {
	const secret = "whsec_test"
	full, err := json.Marshal(meterReport())
	if err != nil {
		t.Fatal(err)
	}
	thin, err := json.Marshal(map[string]any{
		"id": "evt_test_1", "object": "v2.core.event", "type": "v1.billing.meter.error_report_triggered", "created": now, "livemode": false,
		"related_object": map[string]string{"id": "mtr_1", "type": "billing.meter", "url": "/v1/billing/meters/mtr_1"},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]map[string]string{
		"meter_event_customer_not_found": {"ubx_a": "no customer a", "ubx_b": "no customer b"}, "timestamp_too_far_in_past": {"ubx_c": "old"},
	}
	for name, body := range map[string][]byte{"with its data": full, "as a notification": thin} {
		t.Run(name, func(t *testing.T) {
			events := listen(t, http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) { _, _ = rw.Write(full) }))
			signed := webhook.GenerateTestSignedPayload(&webhook.UnsignedPayload{Payload: body, Secret: secret, Timestamp: now})
			rejected, reports, unnamed := map[string]map[string]string{}, map[string]bool{}, 0
			h := &biller.StripeReports{
				Stripe: stripeReceiver(events.url, "key", false), Secret: secret,
				Rejected: func(report, reason string, ids map[string]string) error {
					if reports[report] {
						t.Errorf("two parts of the report are named %s", report)
					}
					rejected[reason], reports[report] = ids, true
					return nil
				},
				Unnamed: func(n int) { unnamed += n },
			}
			r := httptest.NewRequest(http.MethodPost, "/", bytes.NewReader(signed.Payload))
			r.Header.Set("Stripe-Signature", signed.Header)
			answer := httptest.NewRecorder()
			h.ServeHTTP(answer, r)
			if answer.Code != http.StatusOK {
				t.Fatalf("%d: %s", answer.Code, answer.Body)
			}
			if diff := cmp.Diff(want, rejected); diff != "" || unnamed != 2 {
				t.Errorf("%d are unnamed, want 2; (-want +got):\n%s", unnamed, diff)
			}
			if name != "as a notification" {
				return
			}
			sdk := stripeClient(events.url, "key")
			notification, err := sdk.ParseEventNotification(signed.Payload, signed.Header, secret, stripe.WithIgnoreTolerance())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := notification.(*stripe.V1BillingMeterErrorReportTriggeredEventNotification).FetchEvent(t.Context()); err != nil {
				t.Fatal(err)
			}
			if asked := events.all(); len(asked) != 2 || asked[0].method != asked[1].method || asked[0].path != asked[1].path {
				t.Errorf("we and the SDK ask for the event differently: %+v", asked)
			}
		})
	}
}
