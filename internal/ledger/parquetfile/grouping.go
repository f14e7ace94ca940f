package parquetfile

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/usagebox/otelcol-usagebox/usage"
)

// DimensionPrefix begins the name of a dimension that is a key of an event's own dimensions: "dimensions.team" groups by
// the key "team", in a column named "dimension_team".
const DimensionPrefix = "dimensions."

// DefaultDimensions are what rollups are grouped by besides what they always are: hour, customer, meter, unit and both currencies.
var DefaultDimensions = []string{"feature", "step", "agent", "operation", "provider", "model"}

var extraDimensions = []string{"user_id", "session_id", "conversation_id", "run_id", "source", "service"}

const maxDimensions = 32

// Grouping is what rollups are grouped by. It is immutable.
type Grouping struct {
	off   [6]bool // of DefaultDimensions: not grouped by
	extra []string
	table table
}

// DefaultGrouping groups by DefaultDimensions.
func DefaultGrouping() *Grouping { return defaultGrouping }

// NewGrouping groups by the named dimensions: any of DefaultDimensions, of user_id, session_id, conversation_id, run_id,
// source, service, or of keys as in DimensionPrefix. The columns of all of DefaultDimensions are in every file, null where
// rollups are not grouped by them; others follow at the end, so that files of different groupings can be read together.
func NewGrouping(dimensions []string) (*Grouping, error) {
	if len(dimensions) > maxDimensions {
		return nil, fmt.Errorf("%d dimensions are more than %d", len(dimensions), maxDimensions)
	}
	return newGrouping(dimensions)
}

func newGrouping(dimensions []string) (*Grouping, error) {
	g := &Grouping{}
	for i, name := range DefaultDimensions {
		g.off[i] = !slices.Contains(dimensions, name)
	}
	seen := map[string]bool{}
	for _, name := range dimensions {
		key, isKey := strings.CutPrefix(name, DimensionPrefix)
		switch {
		case seen[name]:
			return nil, fmt.Errorf("dimension %q is there twice", name)
		case isKey && key != "" && len(key) <= usage.MaxIDBytes, slices.Contains(extraDimensions, name):
			g.extra = append(g.extra, name)
		case !slices.Contains(DefaultDimensions, name):
			return nil, fmt.Errorf("unknown dimension %q: it is one of %s, %s, or %sKEY",
				name, strings.Join(DefaultDimensions, ", "), strings.Join(extraDimensions, ", "), DimensionPrefix)
		}
		seen[name] = true
	}
	g.table = tableOf(Rollups, g.extra)
	return g, nil
}

// UnionGrouping has the dimensions of all groupings, those beside the default ones in the order in which they come.
func UnionGrouping(groupings ...*Grouping) *Grouping {
	union := &Grouping{}
	for i := range union.off {
		union.off[i] = !slices.ContainsFunc(groupings, func(g *Grouping) bool { return !g.off[i] })
	}
	for _, g := range groupings {
		for _, name := range g.extra {
			if !slices.Contains(union.extra, name) {
				union.extra = append(union.extra, name)
			}
		}
	}
	union.table = tableOf(Rollups, union.extra)
	return union
}

// Dimensions are the names that NewGrouping makes g from.
func (g *Grouping) Dimensions() []string {
	names := make([]string, 0, len(DefaultDimensions)+len(g.extra))
	for i, name := range DefaultDimensions {
		if !g.off[i] {
			names = append(names, name)
		}
	}
	return append(names, g.extra...)
}

// Columns are the names of the columns that follow the default ones.
func (g *Grouping) Columns() []string {
	names := make([]string, len(g.extra))
	for i, name := range g.extra {
		names[i] = columnOf(name)
	}
	return names
}

func columnOf(dimension string) string {
	return strings.Replace(dimension, DimensionPrefix, "dimension_", 1)
}

func (g *Grouping) text() string {
	text, err := json.Marshal(g.Dimensions())
	if err != nil { // strings can't fail
		panic(err)
	}
	return string(text)
}

func (g *Grouping) dimension(i int, value string) string {
	if g.off[i] {
		return ""
	}
	return value
}

// key is what a line of e is summed under.
func (g *Grouping) key(e *usage.Event, l *usage.Line) rollupKey {
	k := rollupKey{
		hour:          e.Timestamp.Hour(),
		customer:      e.Customer,
		feature:       g.dimension(0, e.Feature),
		step:          g.dimension(1, e.Step),
		agent:         g.dimension(2, e.Agent),
		operation:     g.dimension(3, e.Operation),
		provider:      g.dimension(4, e.Provider),
		model:         g.dimension(5, e.Model),
		meter:         l.Meter,
		unit:          l.Unit,
		currency:      l.Cost.Currency,
		priceCurrency: l.Price.Currency,
	}
	if len(g.extra) > 0 {
		k.extra = g.extraKey(e)
	}
	return k
}

const extraSeparator = "\xff" // not in UTF-8

func (g *Grouping) extraKey(e *usage.Event) string {
	values := make([]string, len(g.extra))
	for i, name := range g.extra {
		values[i] = extraValue(e, name)
	}
	return strings.Join(values, extraSeparator)
}

func extraValue(e *usage.Event, name string) string {
	switch name {
	case "user_id":
		return e.UserID
	case "session_id":
		return e.SessionID
	case "conversation_id":
		return e.ConversationID
	case "run_id":
		return e.RunID
	case "source":
		return e.Source
	case "service":
		return e.Service
	}
	key := strings.TrimPrefix(name, DimensionPrefix)
	for _, d := range e.Dimensions {
		if d.Key == key {
			return d.Value
		}
	}
	return ""
}
