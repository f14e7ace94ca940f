package biller

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/usagebox/otelcol-usagebox/internal/feed"
)

// What Stripe takes.
const (
	StripeEndpoint       = "https://api.stripe.com"
	StripeStreamEndpoint = "https://meter-events.stripe.com"
	StripeVersion        = "2025-03-31.basil"

	stripeDigits  = 15
	stripeName    = 100
	stripePast    = 35*24*time.Hour - time.Hour
	stripeFuture  = 4 * time.Minute
	stripeWindow  = 23 * time.Hour // it remembers ids for 24 h or more
	stripeStream  = 100            // events of a call
	sessionMargin = time.Minute
)

// Stripe sends meter events: one a call to the v1 API, or up to 100 a call to the stream of the v2 API.
type Stripe struct {
	Client
	Key            string
	Version        string // of the API
	Stream         bool
	StreamEndpoint string
	CustomerKey    string // of the payload
	ValueKey       string

	mu      sync.Mutex
	session session
	meters  map[string]string // event name → id
}

// session allows calls to the stream for some minutes.
type session struct {
	Token   string    `json:"authentication_token"`
	Expires time.Time `json:"expires_at"`
}

// Limits of the API that is used.
func (s *Stripe) Limits() feed.Limits {
	if s.Stream {
		return feed.Limits{Batch: stripeStream, Window: stripeWindow}
	}
	return feed.Limits{Batch: 1, Window: stripeWindow}
}

// Check says whether a record is within Stripe's limits.
func (s *Stripe) Check(r *feed.Record, now time.Time) (reason, detail string) {
	if digits := strings.TrimLeft(strings.Trim(r.Value, "-"), "0"); len(digits) > stripeDigits {
		return "meter_event_value_too_many_digits", fmt.Sprintf("its value %s has %d digits, Stripe takes %d: set a larger per", r.Value, len(digits), stripeDigits)
	}
	if reason, detail = tooLong("event_name", r.Meter, stripeName); reason != "" {
		return reason, detail
	}
	return window(r, now, stripePast, stripeFuture)
}

func (s *Stripe) payload(r *feed.Record) map[string]string {
	all := properties(r, s.ValueKey)
	all[s.CustomerKey] = r.ExternalCustomer
	return all
}

// Send makes a call.
func (s *Stripe) Send(ctx context.Context, records []*feed.Record) []feed.Outcome {
	if s.Stream {
		return s.sendStream(ctx, records)
	}
	r := records[0]
	form := url.Values{"event_name": {r.Meter}, "identifier": {r.ID}, "timestamp": {strconv.FormatInt(r.Time().Unix(), 10)}}
	for name, value := range s.payload(r) {
		form.Set("payload["+name+"]", value)
	}
	header := s.header(s.Key)
	header.Set("Content-Type", "application/x-www-form-urlencoded")
	a, err := s.do(ctx, http.MethodPost, "/v1/billing/meter_events", header, []byte(form.Encode()))
	if err != nil {
		return s.lost(1, err)
	}
	return s.stripeJudged(1, a)
}

func (s *Stripe) header(key string) http.Header {
	return http.Header{"Authorization": {bearer(key)}, "Stripe-Version": {s.Version}}
}

// stripeError is how the API says what is wrong.
type stripeError struct {
	Error struct {
		Code    string `json:"code"`
		Type    string `json:"type"`
		Message string `json:"message"`
	} `json:"error"`
}

// stripeJudged reads an answer. An id that is there already is delivered.
func (s *Stripe) stripeJudged(n int, a answer) []feed.Outcome {
	outcomes := s.judged(n, a)
	said := readStripeError(a)
	if a.status == http.StatusNotFound && n == 1 && said.Error.Code == "resource_missing" { // the customer, not the address
		outcomes[0].Fate, outcomes[0].All = feed.Refused, false
	}
	if outcomes[0].Fate != feed.Refused {
		return outcomes
	}
	if said.Error.Code == "duplicate_meter_event" || strings.Contains(said.Error.Message, "already exists with identifier") {
		return feed.Fates(n, feed.Outcome{Fate: feed.Delivered})
	}
	for i := range outcomes {
		if said.Error.Code != "" {
			outcomes[i].Reason = said.Error.Code
		}
	}
	return outcomes
}

func readStripeError(a answer) (said stripeError) {
	_ = json.Unmarshal(a.body, &said) // what is no error of the API has no code
	return said
}

// sessionExpired says that a call was for nothing, whatever its status is: nothing was read but the token.
func sessionExpired(a answer) bool {
	said := readStripeError(a).Error
	return a.status >= 400 && (said.Type == "temporary_session_expired" || said.Code == "billing_meter_event_session_expired")
}

func (s *Stripe) sendStream(ctx context.Context, records []*feed.Record) []feed.Outcome {
	type event struct {
		EventName  string            `json:"event_name"`
		Identifier string            `json:"identifier"`
		Timestamp  string            `json:"timestamp"`
		Payload    map[string]string `json:"payload"`
	}
	events := make([]event, len(records))
	for i, r := range records {
		events[i] = event{r.Meter, r.ID, r.Time().UTC().Format("2006-01-02T15:04:05.000Z"), s.payload(r)}
	}
	body, err := json.Marshal(map[string]any{"events": events})
	if err != nil {
		return feed.Fates(len(records), feed.Outcome{Fate: feed.Refused, Reason: "unencodable", Err: err})
	}
	for renewed := false; ; renewed = true {
		token, refused := s.token(ctx, len(records), renewed)
		if refused != nil {
			return refused
		}
		header := s.header(token)
		header.Set("Content-Type", "application/json")
		a, err := s.do(ctx, http.MethodPost, s.StreamEndpoint+"/v2/billing/meter_event_stream", header, body)
		if err != nil {
			return s.lost(len(records), err)
		}
		a.body = bytes.ReplaceAll(a.body, []byte(token), []byte(redacted))
		switch {
		case !sessionExpired(a):
			return s.stripeJudged(len(records), a)
		case renewed:
			return notSent(s.judged(len(records), a))
		}
	}
}

// token is the session's, a new one when it is about to expire or has to be renewed. No record was sent when there is none.
func (s *Stripe) token(ctx context.Context, n int, renew bool) (token string, refused []feed.Outcome) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !renew && s.session.Token != "" && s.Clock().Before(s.session.Expires.Add(-sessionMargin)) {
		return s.session.Token, nil
	}
	header := s.header(s.Key)
	header.Set("Content-Type", "application/json")
	a, err := s.do(ctx, http.MethodPost, "/v2/billing/meter_event_session", header, []byte("{}"))
	if err != nil {
		return "", notSent(s.lost(n, err))
	}
	if a.status != http.StatusOK && a.status != http.StatusCreated {
		return "", notSent(s.judged(n, a))
	}
	var fresh session
	if err := json.Unmarshal(a.body, &fresh); err != nil || fresh.Token == "" {
		return "", notSent(feed.Fates(n, feed.Outcome{All: true, Err: errors.New("the session that Stripe gave has no token")}))
	}
	s.session = fresh
	return fresh.Token, nil
}

// notSent are outcomes of a call before the records': nothing of them was sent.
func notSent(outcomes []feed.Outcome) []feed.Outcome {
	for i := range outcomes {
		outcomes[i].Fate, outcomes[i].All, outcomes[i].Alone = feed.NotTaken, true, false
	}
	return outcomes
}

// Received asks for the sum that Stripe has of a customer's meter in an hour.
func (s *Stripe) Received(ctx context.Context, customer, meter string, hour time.Time) (string, error) {
	id, err := s.meterID(ctx, meter)
	if err != nil {
		return "", err
	}
	query := url.Values{
		"customer": {customer}, "start_time": {strconv.FormatInt(hour.Unix(), 10)}, "end_time": {strconv.FormatInt(hour.Add(time.Hour).Unix(), 10)},
		"value_grouping_window": {"hour"}, "limit": {"100"},
	}
	var summaries struct {
		Data []struct {
			Value json.Number `json:"aggregated_value"`
		} `json:"data"`
	}
	if err := s.get(ctx, "/v1/billing/meters/"+url.PathEscape(id)+"/event_summaries?"+query.Encode(), &summaries); err != nil {
		return "", err
	}
	sum := new(big.Rat)
	for _, d := range summaries.Data {
		value, ok := new(big.Rat).SetString(d.Value.String())
		if !ok {
			return "", fmt.Errorf("%q of Stripe is no number", d.Value)
		}
		sum.Add(sum, value)
	}
	if !sum.IsInt() {
		return "", fmt.Errorf("what Stripe has of meter %s, %s, is no whole number", meter, sum.FloatString(3))
	}
	return sum.Num().String(), nil
}

func (s *Stripe) meterID(ctx context.Context, name string) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if id := s.meters[name]; id != "" {
		return id, nil
	}
	meters := map[string]string{}
	for next := ""; ; {
		query := url.Values{"limit": {"100"}}
		if next != "" {
			query.Set("starting_after", next)
		}
		var page struct {
			Data []struct {
				ID        string `json:"id"`
				EventName string `json:"event_name"`
			} `json:"data"`
			HasMore bool `json:"has_more"`
		}
		if err := s.get(ctx, "/v1/billing/meters?"+query.Encode(), &page); err != nil {
			return "", err
		}
		for _, m := range page.Data {
			meters[m.EventName], next = m.ID, m.ID
		}
		if !page.HasMore || len(page.Data) == 0 {
			break
		}
	}
	s.meters = meters
	if meters[name] == "" {
		return "", fmt.Errorf("no meter of Stripe takes events named %s", name)
	}
	return meters[name], nil
}

func (s *Stripe) get(ctx context.Context, path string, into any) error {
	a, err := s.do(ctx, http.MethodGet, path, s.header(s.Key), nil)
	if err != nil {
		return s.lost(1, err)[0].Err
	}
	if a.status != http.StatusOK {
		return s.refusal(a)
	}
	return json.Unmarshal(a.body, into)
}
