package ledgercmd

import (
	"bytes"
	"encoding/json"

	"github.com/usagebox/otelcol-usagebox/internal/decimal"
	"github.com/usagebox/otelcol-usagebox/internal/ledger/parquetfile"
	"github.com/usagebox/otelcol-usagebox/usage"
)

// row is a row of a table: names and values side by side. A value is a string, a number, a list or map of strings, or nil.
// Decimals and times are strings, so that no reader rounds them.
type row struct {
	names  []string
	values []any
}

// MarshalJSON writes an object with the columns in their order.
func (r row) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	b.WriteByte('{')
	for i, name := range r.names {
		if i > 0 {
			b.WriteByte(',')
		}
		for j, v := range []any{name, r.values[i]} {
			if j == 1 {
				b.WriteByte(':')
			}
			if err := e.Encode(v); err != nil {
				return nil, err
			}
			b.Truncate(b.Len() - 1) // the line feed
		}
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// cells are the values as text; null is empty, lists and maps are JSON.
func (r row) cells() ([]string, error) {
	cells := make([]string, len(r.values))
	for i, v := range r.values {
		switch v := v.(type) {
		case nil:
		case string:
			cells[i] = v
		default:
			text, err := json.Marshal(v)
			if err != nil {
				return nil, err
			}
			cells[i] = string(text)
		}
	}
	return cells, nil
}

func orNull(s string) any {
	if s == "" {
		return nil
	}
	return s
}

func decimalOrNull(v string, known bool) any {
	if !known {
		return nil
	}
	return v
}

var eventNames = []string{
	"event_id", "kind", "corrects", "timestamp", "ingested_at", "customer", "user_id", "session_id", "conversation_id", "feature", "step", "agent",
	"trace_id", "span_id", "run_id", "operation", "provider", "model", "meter", "unit", "quantity", "cost", "currency", "cost_rate",
	"price", "price_currency", "price_rate", "source", "service", "flags", "dimensions",
}

func eventRow(e *usage.Event, l *usage.Line) row {
	flags, dimensions := e.Flags, make(map[string]string, len(e.Dimensions))
	if flags == nil {
		flags = []string{}
	}
	for _, d := range e.Dimensions {
		dimensions[d.Key] = d.Value
	}
	return row{eventNames, []any{
		e.ID, string(e.Kind), orNull(e.Corrects), momentText(e.Timestamp), momentText(e.IngestedAt), e.Customer, orNull(e.UserID), orNull(e.SessionID),
		orNull(e.ConversationID), orNull(e.Feature), orNull(e.Step), orNull(e.Agent), orNull(e.TraceID), orNull(e.SpanID), orNull(e.RunID),
		orNull(e.Operation), orNull(e.Provider), orNull(e.Model), l.Meter, l.Unit, l.Quantity.String(),
		decimalOrNull(l.Cost.Amount.String(), l.Cost.Known()), orNull(l.Cost.Currency), orNull(l.Cost.Rate),
		decimalOrNull(l.Price.Amount.String(), l.Price.Known()), orNull(l.Price.Currency), orNull(l.Price.Rate),
		e.Source, e.Service, flags, dimensions,
	}}
}

func eventRows(e *usage.Event) []row {
	rows := make([]row, len(e.Lines))
	for i := range e.Lines {
		rows[i] = eventRow(e, &e.Lines[i])
	}
	return rows
}

func rollupRow(r *parquetfile.RollupRow, extra []string) row {
	names := append([]string{
		"hour_start", "customer", "feature", "step", "agent", "operation", "provider", "model", "meter", "unit", "currency", "price_currency",
		"quantity", "cost", "price", "events", "uncosted_events", "unpriced_events", "first_at", "last_at",
	}, extra...)
	values := []any{
		momentText(r.HourStart), r.Customer, orNull(r.Feature), orNull(r.Step), orNull(r.Agent), orNull(r.Operation), orNull(r.Provider), orNull(r.Model),
		r.Meter, r.Unit, orNull(r.Currency), orNull(r.PriceCurrency), quantityText(r.Quantity),
		decimalOrNull(amountText(r.Cost.Amount), r.Cost.Known), decimalOrNull(amountText(r.Price.Amount), r.Price.Known),
		r.Events, r.UncostedEvents, r.UnpricedEvents, momentText(r.FirstAt), momentText(r.LastAt),
	}
	for _, v := range r.Extra {
		values = append(values, orNull(v))
	}
	return row{names, values}
}

var runNames = func() []string {
	names := []string{"run_id", "customer", "user_id", "feature", "agent", "started_at", "ended_at", "status", "llm_calls", "tool_calls", "memory_ops", "sub_agents"}
	return append(append(names, parquetfile.RunMeters[4:]...), "cost", "currency", "price", "price_currency")
}()

func runRow(r *parquetfile.RunRow) row {
	values := []any{r.RunID, r.Customer, orNull(r.UserID), orNull(r.Feature), orNull(r.Agent), nil, nil, orNull(r.Status)}
	if r.Timed {
		values[5], values[6] = momentText(r.StartedAt), momentText(r.EndedAt)
	}
	for _, sum := range r.Sums {
		values = append(values, quantityText(sum))
	}
	return row{runNames, append(values, moneyOrNull(r.Cost.Amount, r.Cost.Known), orNull(r.Currency), moneyOrNull(r.Price.Amount, r.Price.Known), orNull(r.PriceCurrency))}
}

func moneyOrNull(v decimal.Int128, known bool) any { return decimalOrNull(amountText(v), known) }

var refusedNames = []string{"at", "customer", "event_id", "trace_id", "span_id", "source", "reason", "payload"}

func refusedRow(r *parquetfile.RefusedRow) row {
	return row{refusedNames, []any{
		momentText(r.At), orNull(r.Customer), orNull(r.EventID), orNull(r.TraceID), orNull(r.SpanID), orNull(r.Source), r.Reason, orNull(r.Payload),
	}}
}
