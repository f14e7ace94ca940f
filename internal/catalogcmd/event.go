package catalogcmd

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/usagebox/otelcol-usagebox/usage"
)

// posted is an event as it is posted to the API.
type posted struct {
	EventID        string                 `json:"event_id"`
	AccountID      string                 `json:"account_id"`
	Customer       string                 `json:"customer"`
	Meter          string                 `json:"meter"`
	Quantity       json.RawMessage        `json:"quantity"`
	Quantities     map[string]json.Number `json:"quantities"`
	Unit           string                 `json:"unit"`
	Timestamp      string                 `json:"timestamp"`
	Kind           string                 `json:"kind"`
	Corrects       string                 `json:"corrects"`
	UserID         string                 `json:"user_id"`
	SessionID      string                 `json:"session_id"`
	ConversationID string                 `json:"conversation_id"`
	Feature        string                 `json:"feature"`
	Step           string                 `json:"step"`
	Agent          string                 `json:"agent"`
	TraceID        string                 `json:"trace_id"`
	SpanID         string                 `json:"span_id"`
	Operation      string                 `json:"operation"`
	Provider       string                 `json:"provider"`
	Model          string                 `json:"model"`
	Service        string                 `json:"service"`
	Dimensions     map[string]string      `json:"dimensions"`
}

// readEvents calls each with every event of a stream of JSON objects, or of one array.
func readEvents(in io.Reader, now time.Time, each func(*usage.Event) error) error {
	d := json.NewDecoder(in)
	for n := 1; ; n++ {
		var text json.RawMessage
		err := d.Decode(&text)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("event %d is not JSON: %w", n, err)
		}
		list := []json.RawMessage{text}
		if text[0] == '[' {
			if err := json.Unmarshal(text, &list); err != nil {
				return err
			}
		}
		for _, one := range list {
			e, err := parseEvent(one, now)
			if err != nil {
				return fmt.Errorf("event %d: %w", n, err)
			}
			if err := each(e); err != nil {
				return err
			}
		}
	}
}

func parseEvent(text json.RawMessage, now time.Time) (*usage.Event, error) {
	var p posted
	if err := json.Unmarshal(text, &p); err != nil {
		return nil, err
	}
	e := &usage.Event{
		ID: p.EventID, Customer: p.AccountID, Kind: usage.Kind(p.Kind), Corrects: p.Corrects, UserID: p.UserID, SessionID: p.SessionID,
		ConversationID: p.ConversationID, Feature: p.Feature, Step: p.Step, Agent: p.Agent, TraceID: p.TraceID, SpanID: p.SpanID,
		Operation: p.Operation, Provider: p.Provider, Model: p.Model, Service: p.Service, Source: usage.SourceAPI, Timestamp: usage.MicrosOf(now),
	}
	if e.ID == "" {
		e.ID = "-"
	}
	if e.Customer == "" {
		e.Customer = p.Customer
	}
	if p.Timestamp != "" {
		t, err := time.Parse(time.RFC3339Nano, p.Timestamp)
		if err != nil {
			return nil, fmt.Errorf("timestamp %q is not RFC 3339", p.Timestamp)
		}
		e.Timestamp = usage.MicrosOf(t)
	}
	if len(p.Quantity) > 0 {
		quantity := string(p.Quantity)
		if quantity[0] == '"' {
			if err := json.Unmarshal(p.Quantity, &quantity); err != nil {
				return nil, err
			}
		}
		q, err := usage.ParseQuantity(quantity)
		if err != nil {
			return nil, fmt.Errorf("quantity %.40q %w", quantity, err)
		}
		e.Lines = append(e.Lines, usage.Line{Meter: p.Meter, Unit: p.Unit, Quantity: q})
	}
	for meter, text := range p.Quantities {
		q, err := usage.ParseQuantity(text.String())
		if err != nil {
			return nil, fmt.Errorf("quantity %.40q of %q %w", text, meter, err)
		}
		e.Lines = append(e.Lines, usage.Line{Meter: meter, Quantity: q})
	}
	for k, v := range p.Dimensions {
		e.Dimensions = append(e.Dimensions, usage.Dimension{Key: k, Value: v})
	}
	e.Normalize()
	return e, e.Validate()
}
