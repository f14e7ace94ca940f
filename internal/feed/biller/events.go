package biller

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/usagebox/otelcol-usagebox/internal/feed"
)

// Events is a biller that takes batches of events as JSON.
type Events struct {
	Client
	Protocol Protocol
	Key      string // of its API
	Value    string // the property that the value is in
}

// Protocol is how one biller wants events.
type Protocol struct {
	Endpoint string // where the vendor offers it
	Batch    int
	Window   time.Duration // how long it surely remembers an id
	Past     time.Duration // how old an event may be, 0: no limit is known

	path   string
	header func(key string) http.Header
	encode func(records []*feed.Record, value string) any
	answer func(c *Client, records []*feed.Record, a answer) []feed.Outcome // nil: the status says all
}

// shortMemory is how long ids are taken to be remembered by those who don't say.
const shortMemory = 23 * time.Hour

// Limits of the biller.
func (e *Events) Limits() feed.Limits {
	return feed.Limits{Batch: e.Protocol.Batch, Window: e.Protocol.Window}
}

// Check says whether a record is within the biller's limits.
func (e *Events) Check(r *feed.Record, now time.Time) (reason, detail string) {
	return window(r, now, e.Protocol.Past, 0)
}

// Send posts a batch.
func (e *Events) Send(ctx context.Context, records []*feed.Record) []feed.Outcome {
	body, err := json.Marshal(e.Protocol.encode(records, e.Value))
	if err != nil {
		return feed.Fates(len(records), feed.Outcome{Fate: feed.Refused, Reason: "unencodable", Err: err})
	}
	a, err := e.do(ctx, http.MethodPost, e.Protocol.path, e.Protocol.header(e.Key), body)
	if err != nil {
		return e.lost(len(records), err)
	}
	if e.Protocol.answer != nil {
		if outcomes := e.Protocol.answer(&e.Client, records, a); outcomes != nil {
			return outcomes
		}
	}
	return e.judged(len(records), a)
}

func authorized(key string) http.Header {
	h := jsonHeader()
	h.Set("Authorization", bearer(key))
	return h
}

// Metronome takes POST /v1/ingest.
var Metronome = Protocol{
	Endpoint: "https://api.metronome.com", Batch: 100, Window: 33 * 24 * time.Hour, Past: 34 * 24 * time.Hour, path: "/v1/ingest", header: authorized,
	encode: func(records []*feed.Record, value string) any {
		type event struct {
			TransactionID string            `json:"transaction_id"`
			CustomerID    string            `json:"customer_id"`
			EventType     string            `json:"event_type"`
			Timestamp     string            `json:"timestamp"`
			Properties    map[string]string `json:"properties"`
		}
		events := make([]event, len(records))
		for i, r := range records {
			events[i] = event{r.ID, r.ExternalCustomer, r.Meter, r.Timestamp, properties(r, value)}
		}
		return events
	},
}

// OpenMeter takes CloudEvents at POST /api/v1/events.
var OpenMeter = Protocol{
	Endpoint: "https://openmeter.cloud", Batch: 500, Window: shortMemory, path: "/api/v1/events",
	header: func(key string) http.Header {
		h := http.Header{"Content-Type": {"application/cloudevents-batch+json"}}
		if key != "" {
			h.Set("Authorization", bearer(key))
		}
		return h
	},
	encode: func(records []*feed.Record, value string) any {
		events := make([]cloudEvent, len(records))
		for i, r := range records {
			events[i] = newCloudEvent(r, r.Meter, properties(r, value))
		}
		return events
	},
}

// Lago takes POST /api/v1/events/batch: all events of a batch, or none.
var Lago = Protocol{
	Endpoint: "https://api.getlago.com", Batch: 100, path: "/api/v1/events/batch", header: authorized,
	encode: func(records []*feed.Record, value string) any {
		type event struct {
			TransactionID string            `json:"transaction_id"`
			Subscription  string            `json:"external_subscription_id"`
			Code          string            `json:"code"`
			Timestamp     string            `json:"timestamp"` // seconds with a fraction, as text
			Properties    map[string]string `json:"properties"`
		}
		events := make([]event, len(records))
		for i, r := range records {
			events[i] = event{r.ID, r.ExternalCustomer, r.Meter, unixText(r.Time()), properties(r, value)}
		}
		return map[string]any{"events": events}
	},
	answer: lagoAnswer,
}

func unixText(t time.Time) string {
	text := strconv.FormatInt(t.Unix(), 10)
	if ms := t.Nanosecond() / int(time.Millisecond); ms > 0 {
		return text + "." + strconv.Itoa(1000 + ms)[1:]
	}
	return text
}

// lagoAnswer reads which events of a batch are wrong. One that is there already is delivered; those that nothing is said of were not taken.
func lagoAnswer(c *Client, records []*feed.Record, a answer) []feed.Outcome {
	if a.status != http.StatusUnprocessableEntity {
		return nil
	}
	var said struct {
		Details map[string]json.RawMessage `json:"error_details"`
	}
	if json.Unmarshal(a.body, &said) != nil || len(said.Details) == 0 {
		return nil
	}
	outcomes := feed.Fates(len(records), feed.Outcome{Fate: feed.NotTaken, Err: errOthers})
	named := false
	for key, detail := range said.Details {
		i, err := strconv.Atoi(key)
		if err != nil {
			if len(records) > 1 {
				return nil
			}
			i, detail = 0, a.body // a single event's details have no index
		}
		if i < 0 || i >= len(records) {
			continue
		}
		named = true
		outcomes[i] = lagoOutcome(c, detail)
	}
	if !named {
		return nil
	}
	return outcomes
}

func lagoOutcome(c *Client, detail []byte) feed.Outcome {
	var fields map[string][]string
	if json.Unmarshal(detail, &fields) == nil && len(fields) == 1 && len(fields["transaction_id"]) == 1 && fields["transaction_id"][0] == "value_already_exist" {
		return feed.Outcome{Fate: feed.Delivered}
	}
	if bytes := string(detail); strings.Contains(bytes, `"transaction_id":["value_already_exist"]`) && len(fields) == 0 {
		return feed.Outcome{Fate: feed.Delivered}
	}
	return feed.Outcome{Fate: feed.Refused, Reason: lagoReason(fields), Err: errors.New(c.excerpt(detail))}
}

// lagoReason is the first thing that is wrong, field and word.
func lagoReason(fields map[string][]string) string {
	for _, field := range sortedKeys(fields) {
		if len(fields[field]) > 0 {
			return field + "_" + fields[field][0]
		}
	}
	return "validation_errors"
}

// Orb takes POST /v1/ingest and names the events that it refuses.
var Orb = Protocol{
	Endpoint: "https://api.withorb.com", Batch: 500, Window: shortMemory, path: "/v1/ingest", header: authorized,
	encode: func(records []*feed.Record, value string) any {
		type event struct {
			EventName      string         `json:"event_name"`
			Customer       string         `json:"external_customer_id"`
			Timestamp      string         `json:"timestamp"`
			IdempotencyKey string         `json:"idempotency_key"`
			Properties     map[string]any `json:"properties"`
		}
		events := make([]event, len(records))
		for i, r := range records {
			of := make(map[string]any, len(r.Dimensions)+1)
			for name, text := range properties(r, value) {
				of[name] = text
			}
			of[value] = json.Number(r.Value) // its sums are of numbers
			events[i] = event{r.Meter, r.ExternalCustomer, r.Timestamp, r.ID, of}
		}
		return map[string]any{"events": events}
	},
	answer: orbAnswer,
}

func orbAnswer(c *Client, records []*feed.Record, a answer) []feed.Outcome {
	var said struct {
		Failed []struct {
			Key    string   `json:"idempotency_key"`
			Errors []string `json:"validation_errors"`
		} `json:"validation_failed"`
	}
	if a.status >= 500 || json.Unmarshal(a.body, &said) != nil || len(said.Failed) == 0 {
		return nil
	}
	rest := feed.Outcome{Fate: feed.Delivered}
	if a.status >= 300 {
		rest = feed.Outcome{Fate: feed.NotTaken, Err: errOthers}
	}
	outcomes := feed.Fates(len(records), rest)
	for _, f := range said.Failed {
		for i, r := range records {
			if r.ID == f.Key {
				outcomes[i] = feed.Outcome{Fate: feed.Refused, Reason: "validation_failed", Err: errors.New(c.excerpt([]byte(strings.Join(f.Errors, "; "))))}
			}
		}
	}
	return outcomes
}

// Flexprice takes POST /v1/events/bulk. Its ids count together with the timestamp, which a record keeps.
var Flexprice = Protocol{
	Endpoint: "https://api.cloud.flexprice.io", Batch: 1000, path: "/v1/events/bulk",
	header: func(key string) http.Header {
		h := jsonHeader()
		h.Set("X-Api-Key", key)
		return h
	},
	encode: func(records []*feed.Record, value string) any {
		type event struct {
			EventID    string            `json:"event_id"`
			EventName  string            `json:"event_name"`
			Customer   string            `json:"external_customer_id"`
			Timestamp  string            `json:"timestamp"`
			Source     string            `json:"source"`
			Properties map[string]string `json:"properties"`
		}
		events := make([]event, len(records))
		for i, r := range records {
			events[i] = event{r.ID, r.Meter, r.ExternalCustomer, r.Timestamp, "usagebox/" + r.Writer, properties(r, value)}
		}
		return map[string]any{"events": events}
	},
}
