package usagereceiver

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers/legacy"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/consumer/consumererror"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/receiver/receivertest"

	"github.com/usagebox/otelcol-usagebox/receiver/usagereceiver/internal/metadata"
	"github.com/usagebox/otelcol-usagebox/usage"
)

var now = time.Date(2026, 5, 16, 18, 45, 0, 0, time.UTC)

// pipeline keeps what it is given, or answers with an error.
type pipeline struct {
	events   []usage.Event
	refusals []usage.Refusal
	err      error
	refuse   func(*usage.Event) string // a reason, or empty
}

func (*pipeline) Capabilities() consumer.Capabilities { return consumer.Capabilities{} }

func (p *pipeline) ConsumeLogs(_ context.Context, ld plog.Logs) error {
	if p.err != nil {
		return p.err
	}
	events, _, err := usage.DecodeLogs(ld)
	if err != nil {
		return err
	}
	p.refusals = append(p.refusals, usage.DecodeRefusals(ld)...)
	var rejected usage.RejectedError
	for i := range events {
		if p.refuse != nil {
			if reason := p.refuse(&events[i]); reason != "" {
				rejected.Rejections = append(rejected.Rejections, usage.Rejection{Key: events[i].Key(), Payload: events[i].Payload(), Reason: reason})
				continue
			}
		}
		p.events = append(p.events, events[i])
	}
	if len(rejected.Rejections) > 0 {
		return consumererror.NewPermanent(&rejected)
	}
	return nil
}

type client struct {
	t       *testing.T
	handler http.Handler
	p       *pipeline
	doc     *openapi3.T
}

func newClient(t *testing.T, change func(*Config)) *client {
	t.Helper()
	p := &pipeline{}
	config := createDefaultConfig().(*Config)
	if change != nil {
		change(config)
	}
	r, err := newReceiver(receivertest.NewNopSettings(metadata.Type), config, p, func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	doc, err := openapi3.NewLoader().LoadFromData(openAPI)
	if err != nil {
		t.Fatal(err)
	}
	return &client{t, r.handler(), p, doc}
}

// post sends a body, and holds the answer to the description of the API.
func (c *client) post(path, contentType, body string) (int, answer, string) {
	c.t.Helper()
	q := httptest.NewRequest(http.MethodPost, path, strings.NewReader(body))
	if contentType != "" {
		q.Header.Set("Content-Type", contentType)
	}
	w := httptest.NewRecorder()
	c.handler.ServeHTTP(w, q)
	c.conforms(path, w)
	var a answer
	var f failure
	_ = json.Unmarshal(w.Body.Bytes(), &a)
	_ = json.Unmarshal(w.Body.Bytes(), &f)
	return w.Code, a, f.Error
}

func (c *client) conforms(path string, w *httptest.ResponseRecorder) {
	c.t.Helper()
	router, err := legacy.NewRouter(c.doc)
	if err != nil {
		c.t.Fatal(err)
	}
	q := httptest.NewRequest(http.MethodPost, path, nil)
	route, params, err := router.FindRoute(q)
	if err != nil {
		c.t.Fatal(err)
	}
	input := &openapi3filter.ResponseValidationInput{
		RequestValidationInput: &openapi3filter.RequestValidationInput{Request: q, PathParams: params, Route: route},
		Status:                 w.Code, Header: w.Header(), Options: &openapi3filter.Options{IncludeResponseStatus: true},
	}
	input.SetBodyBytes(w.Body.Bytes())
	if err := openapi3filter.ValidateResponse(context.Background(), input); err != nil {
		c.t.Fatalf("the answer %d %s is not as described: %v", w.Code, w.Body, err)
	}
}

const curl = `{"event_id": "req_8x42jk", "account_id": "acme-co", "meter": "llm_tokens_in", "model": "claude-4.5-sonnet", "quantity": 12450, "timestamp": "2026-05-16T18:42:11Z"}`

func TestTheExampleIsTakenInEveryForm(t *testing.T) {
	for name, q := range map[string]struct{ path, contentType, body string }{
		"form, as curl sends it":   {pathEvents, "application/x-www-form-urlencoded", curl},
		"json":                     {pathEvents, "application/json; charset=utf-8", curl},
		"no type":                  {pathEvents, "", curl},
		"array":                    {pathEvents, "application/json", "[" + curl + "]"},
		"lines":                    {pathEvents, "application/x-ndjson", curl + "\n\n"},
		"quantity in a string":     {pathEvents, "application/json", strings.Replace(curl, "12450", `"12450.000000"`, 1)},
		"exponent":                 {pathEvents, "application/json", strings.Replace(curl, "12450", `1.245e4`, 1)},
		"quantities":               {pathEvents, "application/json", strings.Replace(strings.Replace(curl, `"meter": "llm_tokens_in", `, "", 1), `"quantity": 12450`, `"quantities": {"llm_tokens_in": 12450}`, 1)},
		"CloudEvent":               {pathEvents, "application/cloudevents+json", cloud},
		"CloudEvents":              {pathEvents, "application/cloudevents-batch+json", "[" + cloud + "]"},
		"usagedb":                  {pathBatch, "application/json", `{"events":[{"event_id":"req_8x42jk","kind":"Usage","account_id":"acme-co","meter_id":"llm_tokens_in","model_id":"claude-4.5-sonnet","quantity":12450,"timestamp_ms":1778956931000}]}`},
		"batch with our own names": {pathBatch, "application/json", `{"events":[` + curl + `]}`},
	} {
		t.Run(name, func(t *testing.T) {
			c := newClient(t, nil)
			code, a, message := c.post(q.path, q.contentType, q.body)
			if code != http.StatusAccepted || a.Accepted != 1 || len(c.p.events) != 1 {
				t.Fatalf("%d %+v %s", code, a, message)
			}
			e := c.p.events[0]
			if e.ID != "req_8x42jk" || e.Customer != "acme-co" || e.Model != "claude-4.5-sonnet" || e.Timestamp.Time().Format(time.RFC3339) != "2026-05-16T18:42:11Z" ||
				len(e.Lines) != 1 || e.Lines[0].Meter != "llm_tokens_in" || e.Lines[0].Quantity != usage.Units(12450) || e.Source != usage.SourceAPI {
				t.Fatalf("%+v", e)
			}
		})
	}
}

func TestWhatCannotBeTakenIsNamedAndTheRestIsTaken(t *testing.T) {
	event := func(change string) string { return change }
	base := `"account_id":"acme","meter":"m","timestamp":"2026-05-16T18:42:11Z"`
	for name, q := range map[string]struct{ element, reason string }{
		"a name twice":         {event(`{"event_id":"x",` + base + `,"quantity":1,"quantity":2}`), usage.ReasonInvalidJSON},
		"no UTF-8":             {event("{\"event_id\":\"x\"," + base + ",\"quantity\":1,\"user_id\":\"\xff\"}"), usage.ReasonInvalidJSON},
		"deep nesting":         {event(`{"event_id":"x",` + base + `,"quantity":1,"x":` + strings.Repeat("[", 500) + strings.Repeat("]", 500) + `}`), usage.ReasonInvalidField},
		"a long id":            {event(`{"event_id":"` + strings.Repeat("x", 257) + `",` + base + `,"quantity":1}`), usage.ReasonTooLong},
		"seven decimals":       {event(`{"event_id":"x",` + base + `,"quantity":0.1234567}`), usage.ReasonInvalidQuantity},
		"too large":            {event(`{"event_id":"x",` + base + `,"quantity":1e12}`), usage.ReasonInvalidQuantity},
		"not a number":         {event(`{"event_id":"x",` + base + `,"quantity":"NaN"}`), usage.ReasonInvalidQuantity},
		"a boolean":            {event(`{"event_id":"x",` + base + `,"quantity":true}`), usage.ReasonInvalidQuantity},
		"negative":             {event(`{"event_id":"x",` + base + `,"quantity":-1}`), usage.ReasonNegativeQuantity},
		"in the future":        {event(`{"event_id":"x","account_id":"a","meter":"m","quantity":1,"timestamp":"2026-05-16T18:55:01Z"}`), usage.ReasonFutureTimestamp},
		"no date":              {event(`{"event_id":"x","account_id":"a","meter":"m","quantity":1,"timestamp":"yesterday"}`), usage.ReasonInvalidTimestamp},
		"no timestamp":         {event(`{"event_id":"x","account_id":"a","meter":"m","quantity":1}`), usage.ReasonMissingField},
		"no id":                {event(`{` + base + `,"quantity":1}`), usage.ReasonMissingField},
		"no account":           {event(`{"event_id":"x","meter":"m","quantity":1,"timestamp":"2026-05-16T18:42:11Z"}`), usage.ReasonMissingField},
		"no quantity":          {event(`{"event_id":"x",` + base + `}`), usage.ReasonMissingField},
		"null":                 {event(`null`), usage.ReasonInvalidEvent},
		"a number":             {event(`17`), usage.ReasonInvalidEvent},
		"unknown kind":         {event(`{"event_id":"x",` + base + `,"quantity":1,"kind":"gift"}`), usage.ReasonInvalidField},
		"correction of nobody": {event(`{"event_id":"x",` + base + `,"quantity":-1,"kind":"correction"}`), ""},
	} {
		t.Run(name, func(t *testing.T) {
			c := newClient(t, nil)
			second := strings.Replace(curl, "req_8x42jk", "second", 1)
			code, a, message := c.post(pathEvents, "application/json", "["+curl+","+q.element+","+second+"]")
			if code != http.StatusMultiStatus || a.Accepted != 2 || len(a.Rejected) != 1 || a.Rejected[0].Index != 1 {
				t.Fatalf("%d %+v %s", code, a, message)
			}
			if q.reason != "" && a.Rejected[0].Reason != q.reason || a.Rejected[0].Detail == "" {
				t.Fatalf("%+v, want %s", a.Rejected[0], q.reason)
			}
			if len(c.p.events) != 2 || c.p.events[1].ID != "second" {
				t.Fatalf("%+v", c.p.events)
			}
			if f := c.p.refusals; len(f) != 1 || f[0].Reason != a.Rejected[0].Reason || f[0].Event.Source != usage.SourceAPI || f[0].Event.ID != a.Rejected[0].EventID && len(f[0].Event.ID) <= usage.MaxIDBytes {
				t.Fatalf("the ledger is told %+v of %+v", f, a.Rejected[0])
			}
			if code, a, _ = c.post(pathEvents, "application/json", q.element); code != http.StatusBadRequest || a.Accepted != 0 || len(a.Rejected) != 1 {
				t.Fatalf("alone: %d %+v", code, a)
			}
		})
	}
}

func TestABodyThatBreaksOffIsTakenUpToThere(t *testing.T) {
	c := newClient(t, nil)
	code, a, _ := c.post(pathEvents, "application/json", "["+curl+`,{"event_id":"cut`)
	if code != http.StatusMultiStatus || a.Accepted != 1 || len(a.Rejected) != 1 || a.Rejected[0].Index != 1 || a.Rejected[0].Reason != usage.ReasonInvalidJSON {
		t.Fatalf("%d %+v", code, a)
	}
	code, a, _ = c.post(pathEvents, "application/x-ndjson", curl+"\n{broken\n"+curl)
	if code != http.StatusMultiStatus || a.Accepted != 2 || a.Rejected[0].Index != 1 {
		t.Fatalf("a broken line: %d %+v", code, a)
	}
}

func TestAnswersOfThePipelineReachTheSender(t *testing.T) {
	c := newClient(t, nil)
	c.p.refuse = func(e *usage.Event) string {
		if e.ID == "second" {
			return usage.ReasonConflict
		}
		return ""
	}
	code, a, _ := c.post(pathEvents, "application/json", "["+curl+","+strings.Replace(curl, "req_8x42jk", "second", 1)+"]")
	if code != http.StatusMultiStatus || a.Accepted != 1 || a.Rejected[0] != (verdict{Index: 1, EventID: "second", Reason: usage.ReasonConflict}) {
		t.Fatalf("%d %+v", code, a)
	}
	// A processor changed whose the event is: the sender's own name for it still tells which one was refused.
	c.p.refuse, c.p.err = nil, consumererror.NewPermanent(&usage.RejectedError{Rejections: []usage.Rejection{{Key: usage.Key{Customer: "other", ID: "second"}, Reason: usage.ReasonConflict}}})
	code, a, _ = c.post(pathEvents, "application/json", "["+curl+","+strings.Replace(curl, "req_8x42jk", "second", 1)+"]")
	if code != http.StatusMultiStatus || a.Accepted != 1 || a.Rejected[0].Index != 1 {
		t.Fatalf("%d %+v", code, a)
	}
	if code, a, _ = c.post(pathEvents, "application/json", curl); code != http.StatusInternalServerError {
		t.Fatalf("the refusal of an event that was not sent: %d %+v", code, a)
	}
	c.p.err = errors.New("the disk is full")
	if code, _, message := c.post(pathEvents, "application/json", curl); code != http.StatusServiceUnavailable || !strings.Contains(message, "send it again") {
		t.Fatalf("%d %s", code, message)
	}
	c.p.err = consumererror.NewPermanent(errors.New("no"))
	if code, _, _ := c.post(pathEvents, "application/json", curl); code != http.StatusInternalServerError {
		t.Fatal(code)
	}
}

func TestRequestsThatAreNoneAreAnsweredPlainly(t *testing.T) {
	c := newClient(t, func(c *Config) { c.MaxEvents = 2 })
	for name, q := range map[string]struct {
		contentType, body string
		code              int
	}{
		"empty":       {"application/json", "  ", http.StatusBadRequest},
		"empty list":  {"application/json", "[]", http.StatusAccepted},
		"wrong type":  {"application/xml", "<a/>", http.StatusUnsupportedMediaType},
		"broken type": {"a/b/c; =", curl, http.StatusUnsupportedMediaType},
		"too many":    {"application/json", "[" + curl + "," + curl + "," + curl + "]", http.StatusRequestEntityTooLarge},
	} {
		if code, _, message := c.post(pathEvents, q.contentType, q.body); code != q.code {
			t.Errorf("%s: %d %s", name, code, message)
		}
	}
	if len(c.p.events) != 0 {
		t.Fatalf("something was taken: %+v", c.p.events)
	}
	w := httptest.NewRecorder()
	c.handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, pathEvents, nil))
	if w.Code != http.StatusMethodNotAllowed || w.Header().Get("Allow") != http.MethodPost {
		t.Fatal(w.Code)
	}
}
