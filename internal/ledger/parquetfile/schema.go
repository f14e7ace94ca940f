package parquetfile

import (
	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/encoding"
	"github.com/parquet-go/parquet-go/format"

	"github.com/usagebox/otelcol-usagebox/usage"
)

// Names of the tables, as folders below the ledger's directory and in the files' metadata.
const (
	Events  = "events"
	Rollups = "rollups"
	Runs    = "runs"
	Refused = "refused"
	Daily   = "daily"
)

const (
	formatVersion = "1"
	formatKey     = "usagebox.format"
	tableKey      = "usagebox.table"
	dimensionsKey = "usagebox.dimensions" // of rollups files: JSON array of what they are grouped by
	hugeDigits    = 38                    // digits of a sum
)

// columnType is what a column holds.
type columnType int

const (
	text       columnType = iota // VARCHAR, few distinct values
	identifier                   // VARCHAR, many distinct values
	micros                       // TIMESTAMP
	quantity                     // DECIMAL(18,6)
	amount                       // DECIMAL(18,12)
	quantities                   // DECIMAL(38,6)
	amounts                      // DECIMAL(38,12)
	count                        // BIGINT
	list                         // VARCHAR[]
	dictionary                   // MAP(VARCHAR, VARCHAR)
)

type column struct {
	name     string
	typ      columnType
	nullable bool
}

func (c column) leaves() int {
	if c.typ == dictionary {
		return 2
	}
	return 1
}

func (c column) encoding() encoding.Encoding {
	switch c.typ {
	case identifier:
		return &parquet.DeltaByteArray
	case micros, count:
		return &parquet.DeltaBinaryPacked
	case quantities, amounts:
		return &parquet.Plain
	default:
		return &parquet.RLEDictionary
	}
}

func (c column) node() parquet.Node {
	var n parquet.Node
	switch c.typ {
	case text, identifier:
		n = parquet.String()
	case micros:
		n = parquet.Leaf(plainType{parquet.TimestampAdjusted(parquet.Microsecond, false).Type()})
	case quantity:
		n = parquet.Decimal(usage.QuantityScale, usage.Digits, parquet.Int64Type)
	case amount:
		n = parquet.Decimal(usage.AmountScale, usage.Digits, parquet.Int64Type)
	case quantities:
		n = hugeDecimal(usage.QuantityScale)
	case amounts:
		n = hugeDecimal(usage.AmountScale)
	case count:
		n = parquet.Leaf(parquet.Int64Type)
	case list:
		return parquet.List(parquet.Encoded(parquet.String(), c.encoding()))
	case dictionary:
		return parquet.Map(parquet.Encoded(parquet.String(), c.encoding()), parquet.Encoded(parquet.String(), c.encoding()))
	}
	n = parquet.Encoded(n, c.encoding())
	if c.nullable {
		n = parquet.Optional(n)
	}
	return n
}

func hugeDecimal(scale int) parquet.Node {
	return parquet.Leaf(signedDecimalType{parquet.Decimal(scale, hugeDigits, parquet.FixedLenByteArrayType(16)).Type()})
}

// table is a table's columns in the order in which readers see them.
type table struct {
	name    string
	columns []column
	schema  *parquet.Schema
}

func newTable(name string, columns []column) table {
	t := table{name: name, columns: columns}
	t.schema = parquet.NewSchema(name, t.root())
	return t
}

func (t table) root() orderedGroup {
	g := orderedGroup{Group: make(parquet.Group, len(t.columns))}
	for _, c := range t.columns {
		g.Group[c.name] = c.node()
	}
	byName := make(map[string]parquet.Field, len(t.columns))
	for _, f := range g.Group.Fields() {
		byName[f.Name()] = f
	}
	for _, c := range t.columns {
		g.fields = append(g.fields, byName[c.name])
	}
	return g
}

// leafColumn is the column that a leaf belongs to.
func (t table) leafColumn(leaf int) column {
	for _, c := range t.columns {
		if leaf < c.leaves() {
			return c
		}
		leaf -= c.leaves()
	}
	return column{}
}

func (t table) repeated(leaf int) bool {
	typ := t.leafColumn(leaf).typ
	return typ == list || typ == dictionary
}

func (t table) nullable(leaf int) bool { return t.repeated(leaf) || t.leafColumn(leaf).nullable }

// encodes says whether a page of a leaf can be in an encoding.
func (t table) encodes(leaf int, e format.Encoding) bool {
	own := t.leafColumn(leaf).encoding().Encoding()
	return e == own || own == format.RLEDictionary && e == format.Plain
}

// orderedGroup is a group that keeps its fields in the table's order, where parquet.Group sorts them by name.
type orderedGroup struct {
	parquet.Group
	fields []parquet.Field
}

func (g orderedGroup) Fields() []parquet.Field { return g.fields }

func required(name string, typ columnType) column { return column{name, typ, false} }
func nullable(name string, typ columnType) column { return column{name, typ, true} }

// Leaves of the events table, in the order of eventColumns.
const (
	leafEventID = iota
	leafKind
	leafCorrects
	leafTimestamp
	leafIngestedAt
	leafCustomer
	leafUserID
	leafSessionID
	leafConversationID
	leafFeature
	leafStep
	leafAgent
	leafTraceID
	leafSpanID
	leafRunID
	leafOperation
	leafProvider
	leafModel
	leafMeter
	leafUnit
	leafQuantity
	leafCost
	leafCurrency
	leafCostRate
	leafPrice
	leafPriceCurrency
	leafPriceRate
	leafSource
	leafService
	leafFlags
	leafDimensionKey
	leafDimensionValue
	eventLeaves
)

var eventTable = newTable(Events, []column{
	required("event_id", identifier),
	required("kind", text),
	nullable("corrects", identifier),
	required("timestamp", micros),
	required("ingested_at", micros),
	required("customer", text),
	nullable("user_id", text),
	nullable("session_id", text),
	nullable("conversation_id", text),
	nullable("feature", text),
	nullable("step", text),
	nullable("agent", text),
	nullable("trace_id", identifier),
	nullable("span_id", identifier),
	nullable("run_id", text),
	nullable("operation", text),
	nullable("provider", text),
	nullable("model", text),
	required("meter", text),
	required("unit", text),
	required("quantity", quantity),
	nullable("cost", amount),
	nullable("currency", text),
	nullable("cost_rate", text),
	nullable("price", amount),
	nullable("price_currency", text),
	nullable("price_rate", text),
	required("source", text),
	required("service", text),
	required("flags", list),
	required("dimensions", dictionary),
})

var refusedTable = newTable(Refused, []column{
	required("at", micros),
	nullable("customer", text),
	nullable("event_id", identifier),
	nullable("trace_id", identifier),
	nullable("span_id", identifier),
	nullable("source", text),
	required("reason", text),
	nullable("payload", identifier),
})
