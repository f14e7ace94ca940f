package feed

import (
	"fmt"
	"math/big"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/usagebox/otelcol-usagebox/internal/decimal"
	"github.com/usagebox/otelcol-usagebox/internal/ledger/parquetfile"
	"github.com/usagebox/otelcol-usagebox/usage"
)

// What of a total a receiver is sent.
const (
	ValueQuantity = "quantity"
	ValueCost     = "cost"
	ValuePrice    = "price"
)

// Dimensions are the columns of rollups that records can be kept apart by.
var Dimensions = []string{"feature", "step", "agent", "operation", "provider", "model"}

// Mapping says which totals become which records of a receiver. It is kept with the feed: an hour's records are made by one mapping, however often the hour
// changes.
type Mapping struct {
	Meters       []Meter  `json:"meters"`
	Dimensions   []string `json:"dimensions"`
	Unattributed bool     `json:"unattributed"` // records of the customer `unattributed` are made too
	Decimals     int      `json:"decimals"`     // places of a value that the receiver takes; the rest is carried to the next record
	HoldNegative bool     `json:"hold_negative"`
}

// Meter is one of a receiver's meters.
type Meter struct {
	Meter    string              `json:"meter"`              // the ledger's, a pattern with * and ?
	Name     string              `json:"name,omitempty"`     // the receiver's; "" is the ledger's
	Value    string              `json:"value"`              // quantity, cost or price
	Currency string              `json:"currency,omitempty"` // of a cost or price: others are not of this meter
	Per      string              `json:"per"`                // how many of the ledger's units, or of the currency, are one of the receiver's
	Where    map[string][]string `json:"where,omitempty"`    // dimension → patterns, one of which fits
}

// Validate checks a mapping and sets what it leaves out.
func (m *Mapping) Validate() error {
	if len(m.Meters) == 0 {
		m.Meters = []Meter{{Meter: "*"}}
	}
	for i := range m.Meters {
		if err := m.Meters[i].validate(); err != nil {
			return fmt.Errorf("meters[%d]: %w", i, err)
		}
	}
	for i := range m.Meters {
		for j := range m.Meters[:i] {
			a, b := &m.Meters[i], &m.Meters[j]
			if a.Name != "" && a.Name == b.Name && (a.Value != b.Value || a.Currency != b.Currency || a.Per != b.Per) {
				return fmt.Errorf("meters[%d] and meters[%d] are both named %q: value, currency and per of both have to be the same", j, i, a.Name)
			}
			if err := a.clash(b); err != nil {
				return fmt.Errorf("meters[%d] and meters[%d]: %w", j, i, err)
			}
		}
	}
	for i, d := range m.Dimensions {
		if slices.Contains(m.Dimensions[:i], d) {
			return fmt.Errorf("dimensions: %q is there twice", d)
		}
		if !slices.Contains(Dimensions, d) {
			return fmt.Errorf("dimensions: %q is not a column of rollups: it takes any of %s", d, strings.Join(Dimensions, ", "))
		}
	}
	return nil
}

// clash is about a meter of the ledger that goes under its own name where another's sum goes under that, too, in other units.
func (m *Meter) clash(other *Meter) error {
	named, own := m, other
	if m.Name == "" {
		named, own = other, m
	}
	if named.Name == "" || own.Name != "" || !matches(own.Meter, named.Name) || named.Value == own.Value && named.Per == own.Per {
		return nil
	}
	return fmt.Errorf("a meter %s of the ledger's fits %q, which goes under its own name, and %q is named so with another value or per: give the former a name, or another pattern", named.Name, own.Meter, named.Meter)
}

func (m *Meter) validate() error {
	if m.Meter == "" {
		return fmt.Errorf("meter is empty: name a meter of the ledger, such as llm_tokens_in, or a pattern, such as llm_tokens_*")
	}
	if _, err := path.Match(m.Meter, ""); err != nil {
		return fmt.Errorf("meter: %q is no pattern: * stands for any characters, ? for one", m.Meter)
	}
	switch m.Value {
	case "":
		m.Value = ValueQuantity
	case ValueQuantity, ValueCost, ValuePrice:
	default:
		return fmt.Errorf("value is %q: it takes quantity, cost or price", m.Value)
	}
	if (m.Value == ValueQuantity) != (m.Currency == "") {
		return fmt.Errorf("currency is %q with value %s: cost and price need one, such as USD, quantity has none", m.Currency, m.Value)
	}
	if m.Currency != "" && !currencyCode.MatchString(m.Currency) {
		return fmt.Errorf("currency is %q: it takes three capital letters, such as USD, as catalogues have them", m.Currency)
	}
	if m.Value != ValueQuantity && m.Name == "" {
		return fmt.Errorf("name is empty with value %s: name the receiver's meter, which would otherwise get quantities' name", m.Value)
	}
	if m.Per == "" {
		m.Per = "1"
	}
	if _, err := m.per(); err != nil {
		return err
	}
	for d, patterns := range m.Where {
		if d != "customer" && !slices.Contains(Dimensions, d) {
			return fmt.Errorf("where: %q is not a column of rollups: it takes customer and any of %s", d, strings.Join(Dimensions, ", "))
		}
		if len(patterns) == 0 {
			return fmt.Errorf("where: %s has no pattern, which no usage fits: name one, such as \"*\"", d)
		}
		for _, p := range patterns {
			if _, err := path.Match(p, ""); err != nil {
				return fmt.Errorf("where: %s: %q is no pattern: * stands for any characters, ? for one", d, p)
			}
		}
	}
	return nil
}

var currencyCode = regexp.MustCompile(`^[A-Z]{3}$`)

// scale is the number of places of what the meter sums.
func (m *Meter) scale() int {
	if m.Value == ValueQuantity {
		return usage.QuantityScale
	}
	return usage.AmountScale
}

// per is how many of the smallest units of a sum are one of the receiver's units.
func (m *Meter) per() (*big.Int, error) {
	n, err := decimal.Parse(m.Per, m.scale(), 18)
	if err != nil || n <= 0 {
		return nil, fmt.Errorf("per is %q: it takes a decimal above 0 with at most %d places, how many of the ledger's units are one of the receiver's", m.Per, m.scale())
	}
	return big.NewInt(n), nil
}

// dimension is a column of a row.
func dimension(r *parquetfile.RollupRow, name string) string {
	switch name {
	case "customer":
		return r.Customer
	case "feature":
		return r.Feature
	case "step":
		return r.Step
	case "agent":
		return r.Agent
	case "operation":
		return r.Operation
	case "provider":
		return r.Provider
	default:
		return r.Model
	}
}

// takes says whether a row belongs to the meter.
func (m *Meter) takes(r *parquetfile.RollupRow) bool {
	switch {
	case !matches(m.Meter, r.Meter),
		m.Value == ValueCost && r.Currency != m.Currency,
		m.Value == ValuePrice && r.PriceCurrency != m.Currency:
		return false
	}
	for d, patterns := range m.Where {
		value := dimension(r, d)
		if !slices.ContainsFunc(patterns, func(p string) bool { return matches(p, value) }) {
			return false
		}
	}
	return true
}

// name is the receiver's name for a row's meter.
func (m *Meter) name(r *parquetfile.RollupRow) string {
	if m.Name == "" {
		return r.Meter
	}
	return m.Name
}

// tookBefore says whether a meter before the one at i has the row in the same sum.
func (m *Mapping) tookBefore(i int, r *parquetfile.RollupRow) bool {
	this := &m.Meters[i]
	return slices.ContainsFunc(m.Meters[:i], func(o Meter) bool {
		return o.Value == this.Value && o.name(r) == this.name(r) && o.takes(r)
	})
}

// matches is path.Match without its respect for slashes, which names of models have.
func matches(pattern, value string) bool {
	if pattern == "*" || pattern == value {
		return true
	}
	ok, _ := path.Match(strings.ReplaceAll(pattern, "/", "\x00"), strings.ReplaceAll(value, "/", "\x00"))
	return ok
}
