package ledger

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/cockroachdb/pebble/v2"
	"go.uber.org/zap"

	"github.com/usagebox/otelcol-usagebox/internal/ledger/parquetfile"
	"github.com/usagebox/otelcol-usagebox/usage"
)

// refusal is an event that was not taken, as the store keeps it until it is in refused/.
type refusal struct {
	Row parquetfile.RefusedRow `json:"row"`
}

// maxRefusedPayload bounds what refused/ shows of one event, in bytes of JSON. An event that has more is shown by its ids alone.
const maxRefusedPayload = 16 << 10

const microsPerDay = 24 * usage.MicrosPerHour

func newRefusal(now usage.Micros, r usage.Rejection, e *usage.Event) refusal {
	row := parquetfile.RefusedRow{At: now, Customer: shown(r.Customer), EventID: shown(r.ID), Reason: r.Reason}
	if e != nil {
		row.TraceID, row.SpanID, row.Source = shown(e.TraceID), shown(e.SpanID), shown(e.Source)
	}
	row.Payload = refusedPayload(r, e)
	return refusal{row}
}

// shown is s as a text column can hold it.
func shown(s string) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if len(s) > usage.MaxValueBytes {
		s = strings.ToValidUTF8(s[:usage.MaxValueBytes], "")
	}
	return s
}

// refusedLine is a line of refusedEvent.
type refusedLine struct {
	Meter    string `json:"meter"`
	Unit     string `json:"unit"`
	Quantity string `json:"quantity"`
}

// refusedEvent is what refused/ shows of an event.
type refusedEvent struct {
	Kind           string            `json:"kind,omitempty"`
	Corrects       string            `json:"corrects,omitempty"`
	Timestamp      string            `json:"timestamp,omitempty"`
	UserID         string            `json:"user_id,omitempty"`
	SessionID      string            `json:"session_id,omitempty"`
	ConversationID string            `json:"conversation_id,omitempty"`
	Feature        string            `json:"feature,omitempty"`
	Step           string            `json:"step,omitempty"`
	Agent          string            `json:"agent,omitempty"`
	RunID          string            `json:"run_id,omitempty"`
	Operation      string            `json:"operation,omitempty"`
	Provider       string            `json:"provider,omitempty"`
	Model          string            `json:"model,omitempty"`
	Service        string            `json:"service,omitempty"`
	Lines          []refusedLine     `json:"lines,omitempty"`
	Dimensions     map[string]string `json:"dimensions,omitempty"`
	Detail         string            `json:"detail"` // why it was refused
}

func refusedPayload(r usage.Rejection, e *usage.Event) string {
	shownEvent := refusedEvent{Detail: shown(r.Detail)}
	if e != nil {
		shownEvent = refusedEvent{
			Kind: string(e.Kind), Corrects: e.Corrects,
			UserID: e.UserID, SessionID: e.SessionID, ConversationID: e.ConversationID, Feature: e.Feature, Step: e.Step, Agent: e.Agent,
			RunID: e.RunID, Operation: e.Operation, Provider: e.Provider, Model: e.Model, Service: e.Service, Detail: shown(r.Detail),
		}
		if e.Timestamp != 0 { // it may be the reason that it has none
			shownEvent.Timestamp = e.Timestamp.Time().Format("2006-01-02T15:04:05.999999Z07:00")
		}
		for i := range e.Lines {
			l := &e.Lines[i]
			shownEvent.Lines = append(shownEvent.Lines, refusedLine{l.Meter, l.Unit, l.Quantity.String()})
		}
		if len(e.Dimensions) > 0 {
			shownEvent.Dimensions = make(map[string]string, len(e.Dimensions))
			for _, d := range e.Dimensions {
				shownEvent.Dimensions[d.Key] = d.Value
			}
		}
	}
	text, err := json.Marshal(shownEvent)
	if err != nil || len(text) > maxRefusedPayload {
		text, _ = json.Marshal(refusedEvent{Detail: shown(r.Detail)}) // two strings can't fail
	}
	return string(text)
}

func refusalKey(day int64, n uint64) []byte { return hourSeqKey(keyRefusal, usage.Hour(day), n) }

// writeRefusals puts the group's refusals into its batch and gives the number of the next one.
func (g *group) writeRefusals() (next uint64, err error) {
	next = g.s.refused
	for i := range g.refusals {
		day := int64(g.refusals[i].Row.At / microsPerDay)
		if err := setJSON(g.batch, refusalKey(day, next), &g.refusals[i]); err != nil {
			return 0, err
		}
		next++
	}
	return next, nil
}

// refusedPart is a file of refused/ that is being made: the refusals of a day with numbers in [From, To).
type refusedPart struct {
	Day  int64  `json:"day"`
	Name string `json:"name"`
	From uint64 `json:"from"`
	To   uint64 `json:"to"`
}

// maxRefusedRows bounds one file of refused/.
const maxRefusedRows = 50_000

// flushRefused makes files of what was refused.
func (l *Ledger) flushRefused(s *state) error {
	for {
		if s.refusedPlan == nil {
			plan, err := l.planRefused(s)
			if err != nil || plan == nil {
				return err
			}
		}
		if err := l.finishRefused(s); err != nil {
			return err
		}
	}
}

// planRefused records which refusals the next file holds.
func (l *Ledger) planRefused(s *state) (*refusedPart, error) {
	var plan *refusedPart
	stop := fmt.Errorf("enough")
	err := s.scanKind(keyRefusal, func(key, _ []byte) error {
		day, n := int64(hourOf(key)), seqOf(key)
		if plan == nil {
			plan = &refusedPart{Day: day, From: n}
		}
		if day != plan.Day || n-plan.From >= maxRefusedRows {
			return stop
		}
		plan.To = n + 1
		return nil
	})
	if err != nil && err != stop { //nolint:errorlint // it is our own
		return nil, err
	}
	if plan == nil {
		return nil, nil
	}
	plan.Name = fmt.Sprintf("refused-%012d-%012d", plan.From, plan.To-1)
	if err := s.update(func(b *pebble.Batch) error {
		return setJSON(b, refusedKey(plan), plan)
	}); err != nil {
		return nil, err
	}
	s.refusedPlan = plan
	return plan, nil
}

func refusedKey(p *refusedPart) []byte { return hourSeqKey(keyRefused, usage.Hour(p.Day), p.From) }

// finishRefused makes the file that was planned.
func (l *Ledger) finishRefused(s *state) error {
	plan := s.refusedPlan
	if plan == nil {
		return nil
	}
	var rows []parquetfile.RefusedRow
	if err := s.store.scan(refusalKey(plan.Day, plan.From), refusalKey(plan.Day, plan.To), func(key, value []byte) error {
		var r refusal
		err := decodeJSON(key, value, &r)
		rows = append(rows, r.Row)
		return err
	}); err != nil {
		return err
	}
	folder := l.paths.day(treeRefused, plan.Day)
	if err := l.paths.makeFolder(folder); err != nil {
		return err
	}
	path := l.paths.join(folder, plan.Name+extension)
	bytes, err := l.writeFile(path, func(f *countingFile) error { return parquetfile.WriteRefused(f, rows) })
	if err != nil {
		return err
	}
	if err := l.paths.sync(folder); err != nil {
		return err
	}
	if err := s.update(func(b *pebble.Batch) error {
		if err := b.Delete(refusedKey(plan), nil); err != nil {
			return err
		}
		return b.DeleteRange(refusalKey(plan.Day, plan.From), refusalKey(plan.Day, plan.To), nil)
	}); err != nil {
		return err
	}
	s.refusedPlan = nil
	l.o.Logger.Debug("refused events are in "+path, zap.Int("events", len(rows)), zap.Int64("bytes", bytes))
	return nil
}
