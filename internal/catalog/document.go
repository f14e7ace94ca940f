package catalog

import "encoding/json"

// FormatVersion is the version of the file format: the value of the key catalog.
const FormatVersion = 1

// Document is a catalogue as it is written. All decimals are text. Its JSON is a catalogue file.
type Document struct {
	Catalog   int        `json:"catalog"`
	Builtin   bool       `json:"builtin"` // the built-in catalogue lies below; false in the canonical form, which has it as Base
	Base      *Document  `json:"base,omitempty"`
	Sources   []Source   `json:"sources,omitempty"`
	Providers []Provider `json:"providers,omitempty"`
	Models    []Model    `json:"models,omitempty"`
	Customers []Customer `json:"customers,omitempty"`
	Rates     []Entry    `json:"rates,omitempty"`
}

// Source is where rates were taken from.
type Source struct {
	ID      string `json:"id"`
	URL     string `json:"url,omitempty"`
	Version string `json:"version,omitempty"`
	Date    string `json:"date,omitempty"`
	Licence string `json:"licence,omitempty"`

	at Position
}

// Provider says which names are one provider, which models are its own when an event names no provider, and whose rates count for models
// that it has none for.
type Provider struct {
	Name     string   `json:"name"`
	Aliases  []string `json:"aliases,omitempty"`
	Models   []string `json:"models,omitempty"`   // patterns
	Fallback []string `json:"fallback,omitempty"` // names of providers

	at Position
}

// Model says which other names a model has.
type Model struct {
	Provider string   `json:"provider,omitempty"` // empty: of any
	Model    string   `json:"model"`
	Aliases  []string `json:"aliases,omitempty"`
	Patterns []string `json:"patterns,omitempty"`

	at Position
}

// Customer says which plan a customer is on.
type Customer struct {
	Customer  string    `json:"customer"`
	Plan      string    `json:"plan"`
	Effective Effective `json:"effective,omitzero"`

	at Position
}

// Effective is when something holds: from inclusive, until exclusive, either may be empty. Hours are of every day in UTC.
type Effective struct {
	From  string `json:"from,omitempty"`
	Until string `json:"until,omitempty"`
	Hours *Hours `json:"hours,omitempty"`
}

// Hours are a part of every day in UTC, from inclusive to until exclusive, over midnight when until is not after from.
type Hours struct {
	From  string `json:"from"`
	Until string `json:"until"`
}

// Books.
const (
	BookCost  = "cost"
	BookPrice = "price"
)

// Entry is one entry of rates. It has Terms, or Prices: terms by meter.
type Entry struct {
	ID        string           `json:"id,omitempty"`
	Book      string           `json:"book"`
	Match     Match            `json:"match,omitzero"`
	Currency  string           `json:"currency,omitempty"`
	Effective Effective        `json:"effective,omitzero"`
	Source    string           `json:"source,omitempty"`
	Prices    map[string]Terms `json:"prices,omitempty"`
	Terms

	at Position
}

// Terms are how a quantity becomes an amount.
type Terms struct {
	Price    string `json:"price,omitempty"`
	Per      string `json:"per,omitempty"`
	Unit     string `json:"unit,omitempty"` // of the lines that it is for; empty: the meter's usual one
	Markup   string `json:"markup,omitempty"`
	Tiers    *Tiers `json:"tiers,omitempty"`
	Minimum  string `json:"minimum,omitempty"`
	Included string `json:"included,omitempty"`

	at Position
}

// Tiers are prices by how much.
type Tiers struct {
	Mode  string `json:"mode"`           // graduated, volume, package
	Over  string `json:"over"`           // period, event, context
	Size  string `json:"size,omitempty"` // of a package
	Steps []Step `json:"steps"`
}

// Step is the price up to and including a quantity; the last one has no end.
type Step struct {
	UpTo  string `json:"up_to,omitempty"`
	Price string `json:"price"`
}

// Match is what a line must be: each field one of its values.
type Match struct {
	Fields     map[string][]string
	Dimensions map[string][]string
}

// IsZero says whether m names nothing.
func (m Match) IsZero() bool { return len(m.Fields) == 0 && len(m.Dimensions) == 0 }

// MarshalJSON writes m in the form of a catalogue file.
func (m Match) MarshalJSON() ([]byte, error) {
	out := make(map[string]any, len(m.Fields)+1)
	for k, values := range m.Fields {
		out[k] = values
	}
	if len(m.Dimensions) > 0 {
		out["dimensions"] = m.Dimensions
	}
	return json.Marshal(out)
}
