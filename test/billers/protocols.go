package billers

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

var protocols = map[string]protocol{
	"metronome": {metronome}, "openmeter": {openmeter}, "lago": {lago}, "orb": {orb}, "flexprice": {flexprice}, "webhook": {webhook}, "stripe": {stripe},
}

// strict reads a body with no field that the vendor doesn't have.
func strict(body []byte, into any) error {
	d := json.NewDecoder(strings.NewReader(string(body)))
	d.DisallowUnknownFields()
	return d.Decode(into)
}

func strictNumbers(body []byte, into any) error {
	d := json.NewDecoder(strings.NewReader(string(body)))
	d.DisallowUnknownFields()
	d.UseNumber()
	return d.Decode(into)
}

func (s *Server) is(w http.ResponseWriter, r *http.Request, path, contentType, header, value string) bool {
	switch {
	case r.Method != http.MethodPost || r.URL.Path != path:
		s.wrong(w, "%s %s is not served", r.Method, r.URL.Path)
	case r.Header.Get("Content-Type") != contentType:
		s.wrong(w, "the content type is %q", r.Header.Get("Content-Type"))
	case header != "" && r.Header.Get(header) != value:
		w.WriteHeader(http.StatusUnauthorized)
	default:
		return true
	}
	return false
}

func metronome(s *Server, w http.ResponseWriter, r *http.Request, body []byte, l lie) {
	if !s.is(w, r, "/v1/ingest", "application/json", "Authorization", "Bearer key") {
		return
	}
	var events []struct {
		ID         string            `json:"transaction_id"`
		Customer   string            `json:"customer_id"`
		Type       string            `json:"event_type"`
		At         time.Time         `json:"timestamp"`
		Properties map[string]string `json:"properties"`
	}
	if err := strict(body, &events); err != nil || len(events) == 0 || len(events) > 100 {
		s.wrong(w, "metronome takes 1 to 100 events: %v", err)
		return
	}
	var entries []Entry
	for _, e := range events {
		if e.Customer == "unwanted" { // it says nothing about which
			s.say(w, http.StatusBadRequest, map[string]string{"message": "an event is invalid"})
			return
		}
		entries = append(entries, Entry{e.ID, e.Customer, e.Type, e.Properties["value"], e.At})
	}
	s.store(entries...)
	s.answer(w, l, http.StatusOK, nil)
}

// cloudEvents reads what OpenMeter and the webhook are sent.
func cloudEvents(body []byte) (events []struct {
	Spec    string          `json:"specversion"`
	ID      string          `json:"id"`
	Source  string          `json:"source"`
	Type    string          `json:"type"`
	Subject string          `json:"subject"`
	Time    time.Time       `json:"time"`
	Content string          `json:"datacontenttype"`
	Data    json.RawMessage `json:"data"`
}, err error,
) {
	if len(body) > 0 && body[0] == '{' {
		body = []byte("[" + string(body) + "]")
	}
	err = strict(body, &events)
	return events, err
}

func openmeter(s *Server, w http.ResponseWriter, r *http.Request, body []byte, l lie) {
	if !s.is(w, r, "/api/v1/events", "application/cloudevents-batch+json", "Authorization", "Bearer key") {
		return
	}
	events, err := cloudEvents(body)
	if err != nil || len(events) == 0 {
		s.wrong(w, "openmeter takes events: %v", err)
		return
	}
	var entries []Entry
	for _, e := range events {
		var data map[string]string
		if err := json.Unmarshal(e.Data, &data); err != nil || e.Spec != "1.0" || e.ID == "" || e.Source == "" || e.Type == "" || e.Subject == "" {
			s.wrong(w, "no cloud event of openmeter: %+v", e)
			return
		}
		entries = append(entries, Entry{e.Source + e.ID, e.Subject, e.Type, data["value"], e.Time})
	}
	s.store(entries...)
	s.answer(w, l, http.StatusNoContent, nil)
}

func lago(s *Server, w http.ResponseWriter, r *http.Request, body []byte, l lie) {
	if !s.is(w, r, "/api/v1/events/batch", "application/json", "Authorization", "Bearer key") {
		return
	}
	var batch struct {
		Events []struct {
			ID           string            `json:"transaction_id"`
			Subscription string            `json:"external_subscription_id"`
			Code         string            `json:"code"`
			At           string            `json:"timestamp"`
			Properties   map[string]string `json:"properties"`
		} `json:"events"`
	}
	if err := strict(body, &batch); err != nil || len(batch.Events) == 0 || len(batch.Events) > 100 {
		s.wrong(w, "lago takes 1 to 100 events: %v", err)
		return
	}
	details := map[string]map[string][]string{}
	var entries []Entry
	for i, e := range batch.Events {
		seconds, err := strconv.ParseFloat(e.At, 64)
		if err != nil {
			s.wrong(w, "the timestamp is %q", e.At)
			return
		}
		switch {
		case s.known(e.ID):
			details[strconv.Itoa(i)] = map[string][]string{"transaction_id": {"value_already_exist"}}
		case e.Subscription == "unwanted":
			details[strconv.Itoa(i)] = map[string][]string{"external_subscription_id": {"not_found"}}
		}
		entries = append(entries, Entry{e.ID, e.Subscription, e.Code, e.Properties["value"], time.Unix(int64(seconds), 0)})
	}
	if len(details) > 0 { // all or none
		s.say(w, http.StatusUnprocessableEntity, map[string]any{"status": 422, "error": "Unprocessable Entity", "code": "validation_errors", "error_details": details})
		return
	}
	s.store(entries...)
	s.answer(w, l, http.StatusOK, map[string]any{"events": []any{}})
}

func orb(s *Server, w http.ResponseWriter, r *http.Request, body []byte, l lie) {
	if !s.is(w, r, "/v1/ingest", "application/json", "Authorization", "Bearer key") {
		return
	}
	var batch struct {
		Events []struct {
			Name       string         `json:"event_name"`
			Customer   string         `json:"external_customer_id"`
			At         time.Time      `json:"timestamp"`
			ID         string         `json:"idempotency_key"`
			Properties map[string]any `json:"properties"`
		} `json:"events"`
	}
	if err := strictNumbers(body, &batch); err != nil || len(batch.Events) == 0 || len(batch.Events) > 500 {
		s.wrong(w, "orb takes 1 to 500 events: %v", err)
		return
	}
	failed := []map[string]any{}
	var entries []Entry
	for _, e := range batch.Events {
		if e.Customer == "unwanted" {
			failed = append(failed, map[string]any{"idempotency_key": e.ID, "validation_errors": []string{"customer not found"}})
			continue
		}
		value, number := e.Properties["value"].(json.Number) // Orb adds up numbers, not texts
		if !number {
			s.wrong(w, "the value is no number: %v", e.Properties["value"])
			return
		}
		entries = append(entries, Entry{e.ID, e.Customer, e.Name, value.String(), e.At})
	}
	if len(failed) > 0 && l == half { // refused for some, and nothing stored
		s.say(w, http.StatusBadRequest, map[string]any{"status": 400, "validation_failed": failed})
		return
	}
	s.store(entries...)
	s.answer(w, l, http.StatusOK, map[string]any{"validation_failed": failed})
}

func flexprice(s *Server, w http.ResponseWriter, r *http.Request, body []byte, l lie) {
	if !s.is(w, r, "/v1/events/bulk", "application/json", "X-Api-Key", "key") {
		return
	}
	var batch struct {
		Events []struct {
			ID         string            `json:"event_id"`
			Name       string            `json:"event_name"`
			Customer   string            `json:"external_customer_id"`
			At         string            `json:"timestamp"`
			Source     string            `json:"source"`
			Properties map[string]string `json:"properties"`
		} `json:"events"`
	}
	if err := strict(body, &batch); err != nil || len(batch.Events) == 0 || len(batch.Events) > 1000 {
		s.wrong(w, "flexprice takes 1 to 1000 events: %v", err)
		return
	}
	var entries []Entry
	for _, e := range batch.Events {
		at, err := time.Parse(time.RFC3339Nano, e.At)
		if err != nil {
			s.wrong(w, "the timestamp is %q", e.At)
			return
		}
		entries = append(entries, Entry{e.ID + e.At, e.Customer, e.Name, e.Properties["value"], at}) // id and timestamp together
	}
	s.store(entries...)
	s.answer(w, l, http.StatusAccepted, map[string]string{"message": "Events accepted for processing"})
}

func webhook(s *Server, w http.ResponseWriter, r *http.Request, body []byte, l lie) {
	if r.Header.Get("Webhook-Id") == "" || r.Header.Get("Webhook-Timestamp") == "" {
		s.wrong(w, "no header of Standard Webhooks")
		return
	}
	events, err := cloudEvents(body)
	if err != nil || len(events) == 0 {
		s.wrong(w, "the webhook takes events: %v", err)
		return
	}
	if len(events) > 1 != (r.Header.Get("Content-Type") == "application/cloudevents-batch+json") && body[0] == '{' {
		s.wrong(w, "the content type is %q", r.Header.Get("Content-Type"))
		return
	}
	var entries []Entry
	for _, e := range events {
		var data struct{ Meter, Value, Hour, ID string }
		if err := json.Unmarshal(e.Data, &data); err != nil || data.ID != e.ID {
			s.wrong(w, "the event's data is %s", e.Data)
			return
		}
		entries = append(entries, Entry{e.ID, e.Subject, data.Meter, data.Value, e.Time})
	}
	s.store(entries...)
	s.answer(w, l, http.StatusNoContent, nil)
}

// stripe serves meter events of v1, sessions and streams of v2, meters and their summaries.
func stripe(s *Server, w http.ResponseWriter, r *http.Request, body []byte, l lie) {
	switch {
	case r.URL.Path == "/v1/billing/meter_events":
		s.stripeEvent(w, r, body, l)
	case r.URL.Path == "/v2/billing/meter_event_session":
		s.sessions++
		s.session = "token-" + strconv.Itoa(s.sessions)
		s.say(w, http.StatusOK, map[string]any{
			"object": "v2.billing.meter_event_session", "id": "s", "authentication_token": s.session, "created": s.Clock(), "expires_at": s.Clock().Add(15 * time.Minute), "livemode": false,
		})
	case r.URL.Path == "/v2/billing/meter_event_stream":
		s.stripeStream(w, r, body, l)
	case r.URL.Path == "/v1/billing/meters":
		s.say(w, http.StatusOK, map[string]any{"data": []map[string]string{{"id": "mtr_tokens", "event_name": "tokens"}}, "has_more": false})
	case strings.HasSuffix(r.URL.Path, "/event_summaries"):
		s.stripeSummaries(w, r)
	default:
		s.wrong(w, "%s is not served", r.URL.Path)
	}
}

func stripeError(code, message string) map[string]any {
	return map[string]any{"error": map[string]string{"code": code, "message": message, "type": "invalid_request_error"}}
}

func (s *Server) stripeEvent(w http.ResponseWriter, r *http.Request, body []byte, l lie) {
	if !s.is(w, r, "/v1/billing/meter_events", "application/x-www-form-urlencoded", "Authorization", "Bearer key") {
		return
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		s.wrong(w, "the body is no form: %v", err)
		return
	}
	seconds, err := strconv.ParseInt(form.Get("timestamp"), 10, 64)
	if err != nil || form.Get("event_name") == "" || len(form.Get("identifier")) > 100 || form.Get("identifier") == "" {
		s.wrong(w, "no meter event: %s", body)
		return
	}
	e := Entry{form.Get("identifier"), form.Get("payload[stripe_customer_id]"), form.Get("event_name"), form.Get("payload[value]"), time.Unix(seconds, 0)}
	if code, message := s.stripeCheck(e); code != "" {
		s.say(w, http.StatusBadRequest, stripeError(code, message))
		return
	}
	if s.known(e.ID) {
		s.say(w, http.StatusBadRequest, stripeError("", "An event already exists with identifier "+e.ID+"."))
		return
	}
	s.store(e)
	s.answer(w, l, http.StatusOK, map[string]any{"object": "billing.meter_event", "identifier": e.ID})
}

// stripeCheck is what Stripe checks at once.
func (s *Server) stripeCheck(e Entry) (code, message string) {
	value, err := strconv.ParseInt(e.Value, 10, 64)
	switch age := s.Clock().Sub(e.At); {
	case err != nil:
		s.errors = append(s.errors, "the value is no whole number: "+e.Value)
		return "meter_event_invalid_value", "the value is no whole number"
	case value >= 1e15 || value <= -1e15:
		s.errors = append(s.errors, "the value has too many digits: "+e.Value)
		return "meter_event_value_too_many_digits", "too many digits"
	case age > 35*24*time.Hour:
		return "timestamp_too_far_in_past", "too old"
	case age < -5*time.Minute:
		return "timestamp_in_future", "in the future"
	case e.Customer == "unwanted":
		return "resource_missing", "No such customer: 'unwanted'"
	}
	return "", ""
}

func (s *Server) stripeStream(w http.ResponseWriter, r *http.Request, body []byte, l lie) {
	if l == half { // in the place of what a stream can't do
		s.session = ""
	}
	if r.Header.Get("Authorization") != "Bearer "+s.session || s.session == "" {
		s.say(w, http.StatusUnauthorized, map[string]any{"error": map[string]string{
			"code": "billing_meter_event_session_expired", "message": "the session is over", "type": "temporary_session_expired",
		}})
		return
	}
	var batch struct {
		Events []struct {
			Name    string            `json:"event_name"`
			ID      string            `json:"identifier"`
			At      time.Time         `json:"timestamp"`
			Payload map[string]string `json:"payload"`
		} `json:"events"`
	}
	if err := strict(body, &batch); err != nil || len(batch.Events) == 0 || len(batch.Events) > 100 || r.Header.Get("Stripe-Version") == "" {
		s.wrong(w, "a stream takes 1 to 100 events: %v", err)
		return
	}
	for _, e := range batch.Events { // what is wrong is reported later, duplicates are dropped
		entry := Entry{e.ID, e.Payload["stripe_customer_id"], e.Name, e.Payload["value"], e.At}
		switch code, _ := s.stripeCheck(entry); {
		case code != "":
		case s.foundWrong(e.ID):
			s.reports = append(s.reports, Report{fmt.Sprint("evt_", len(s.reports)), e.ID})
		default:
			s.store(entry)
		}
	}
	s.answer(w, l, http.StatusOK, map[string]any{})
}

// foundWrong says whether an event will be found wrong: some are, all the time that the server lies.
func (s *Server) foundWrong(id string) bool {
	if !s.Wrong {
		return false
	}
	if _, seen := s.wrongs[id]; !seen {
		s.wrongs[id] = s.lying && s.Random.IntN(8) == 0
	}
	return s.lying && s.wrongs[id]
}

func (s *Server) stripeSummaries(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	start, _ := strconv.ParseInt(q.Get("start_time"), 10, 64)
	sum := "0"
	if n := s.billed[Account{q.Get("customer"), "tokens", time.Unix(start, 0).UTC()}]; n != nil {
		sum = n.FloatString(1)
	}
	s.say(w, http.StatusOK, map[string]any{"data": []map[string]any{{"aggregated_value": json.Number(sum)}}, "has_more": false})
}
