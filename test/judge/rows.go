package judge

import (
	"slices"
	"strings"
	"time"

	"github.com/usagebox/otelcol-usagebox/usage"
)

// Row is one row of a ledger's events: one meter of one event.
type Row struct {
	EventID, Corrects, Customer, Feature, Step, Agent string
	TraceID, SpanID, Operation, Provider, Model       string
	Meter                                             string
	Quantity                                          usage.Quantity
	At                                                time.Time
	Flags                                             []string
}

// Rows are the rows that events make.
func Rows(events []usage.Event) []Row {
	var rows []Row
	for i := range events {
		e := &events[i]
		for _, l := range e.Lines {
			rows = append(rows, Row{
				EventID: e.ID, Corrects: e.Corrects, Customer: e.Customer, Feature: e.Feature, Step: e.Step, Agent: e.Agent,
				TraceID: e.TraceID, SpanID: e.SpanID, Operation: e.Operation, Provider: e.Provider, Model: e.Model,
				Meter: l.Meter, Quantity: l.Quantity, At: e.Timestamp.Time(), Flags: e.Flags,
			})
		}
	}
	return rows
}

// counted is an event net of its corrections and retractions. Nothing is deduplicated: a row written twice counts twice.
type counted struct {
	id, trace, span string
	at              time.Time
	shares          []*share // net of zero ones
	tokens          Vector
	otherTokens     usage.Quantity // of token meters that no recording has
	requests, tools usage.Quantity
}

// share is what of an event lies under one set of dimensions.
type share struct {
	customer, feature, model string
	flags                    []string
	meters                   map[string]usage.Quantity
}

var tokenMeters = [5]string{usage.MeterTokensIn, usage.MeterTokensCacheRead, usage.MeterTokensCacheWrite, usage.MeterTokensOut, usage.MeterTokensReasoning}

func net(rows []Row) []counted {
	type key struct{ customer, id string }
	first := map[key]*Row{}
	anywhere := map[string]*Row{}
	corrects := map[string]string{}
	for i := range rows {
		r := &rows[i]
		if r.Corrects != "" {
			corrects[r.EventID] = r.Corrects
			continue
		}
		first[key{r.Customer, r.EventID}] = r
		if anywhere[r.EventID] == nil {
			anywhere[r.EventID] = r
		}
	}
	home := func(r *Row) *Row {
		if r.Corrects == "" {
			return r
		}
		id := r.Corrects
		for hops := 0; hops < 16 && anywhere[id] == nil && corrects[id] != ""; hops++ {
			id = corrects[id]
		}
		if h := first[key{r.Customer, id}]; h != nil {
			return h
		}
		if h := anywhere[id]; h != nil {
			return h
		}
		return r
	}
	type group struct {
		counted
		byDimensions map[string]*share
	}
	groups := map[key]*group{}
	var order []key
	for i := range rows {
		r, h := &rows[i], home(&rows[i])
		k := key{h.Customer, h.EventID}
		g := groups[k]
		if g == nil {
			g = &group{counted{id: h.EventID, trace: h.TraceID, span: h.SpanID, at: h.At}, map[string]*share{}}
			groups[k] = g
			order = append(order, k)
		}
		dimensions := strings.Join([]string{r.Customer, r.Feature, r.Step, r.Agent, r.Operation, r.Provider, r.Model}, "\x00")
		s := g.byDimensions[dimensions]
		if s == nil {
			s = &share{customer: r.Customer, feature: r.Feature, model: r.Model, meters: map[string]usage.Quantity{}}
			g.byDimensions[dimensions] = s
			g.shares = append(g.shares, s)
		}
		s.meters[r.Meter] += r.Quantity
		s.flags = append(s.flags, r.Flags...)
	}
	var out []counted
	for _, k := range order {
		c := groups[k].counted
		c.shares = slices.DeleteFunc(c.shares, func(s *share) bool {
			for _, q := range s.meters {
				if q != 0 {
					return false
				}
			}
			return true
		})
		if len(c.shares) == 0 {
			continue
		}
		for _, s := range c.shares {
			for meter, q := range s.meters {
				c.add(meter, q)
			}
		}
		out = append(out, c)
	}
	return out
}

func (c *counted) add(meter string, q usage.Quantity) {
	switch i := slices.Index(tokenMeters[:], meter); {
	case i >= 0:
		c.tokens[i] += int64(q / usage.Units(1))
	case meter == usage.MeterLLMRequests:
		c.requests += q
	case meter == usage.MeterToolCalls:
		c.tools += q
	case strings.HasPrefix(meter, "llm_tokens_"):
		c.otherTokens += max(q, -q)
	}
}

func (c *counted) isCall() bool {
	return c.requests != 0 || !c.tokens.zero() || c.otherTokens != 0
}
