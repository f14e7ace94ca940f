package attributionprocessor

import (
	"github.com/zeebo/xxh3"

	"github.com/usagebox/otelcol-usagebox/usage"
)

// valueCounter counts the values of each dimension in an hour. It remembers hashes, of the current hour only.
type valueCounter struct {
	max  int
	hour usage.Hour
	seen map[string]map[uint64]struct{}
}

func newValueCounter(limit int) *valueCounter { return &valueCounter{max: limit} }

// add names the dimensions that exceed the limit with this event.
func (v *valueCounter) add(e *usage.Event) (exceeded []string) {
	if v.max == 0 {
		return nil
	}
	if h := e.Timestamp.Hour(); h > v.hour || v.seen == nil {
		v.hour, v.seen = h, map[string]map[uint64]struct{}{}
	}
	count := func(dimension, value string) {
		if value == "" {
			return
		}
		set := v.seen[dimension]
		if set == nil {
			set = map[uint64]struct{}{}
			v.seen[dimension] = set
		}
		if len(set) > v.max {
			return // said already
		}
		set[xxh3.HashString(value)] = struct{}{}
		if len(set) > v.max {
			exceeded = append(exceeded, dimension)
		}
	}
	count("customer", e.Customer)
	count("user_id", e.UserID)
	count("session_id", e.SessionID)
	count("conversation_id", e.ConversationID)
	count("feature", e.Feature)
	count("step", e.Step)
	count("agent", e.Agent)
	count("model", e.Model)
	for _, d := range e.Dimensions {
		if d.Key != "reported_cost" { // an amount
			count(d.Key, d.Value)
		}
	}
	return exceeded
}
