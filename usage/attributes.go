package usage

import (
	"errors"
	"fmt"
	"slices"

	"go.opentelemetry.io/collector/pdata/pcommon"
)

// An event travels as a log record, and between attribution and the spanusage connector as a span. Either carries
// it in attributes named as the ledger's columns, with a prefix:
//
//	usagebox.version          int     1; a reader refuses others
//	usagebox.event_id         string  and so on for kind, corrects, user_id, session_id, conversation_id, feature, step,
//	                                  agent, run_id, operation, provider, model, source; absent when empty
//	usagebox.customer         string  on the resource, so that events can be routed by it; on the record it goes before
//	usagebox.flags            slice of strings
//	usagebox.dimensions       map of strings
//	usagebox.lines            slice of maps: meter, unit, quantity, and where there is a rate cost, currency, cost_rate,
//	                                  price, price_currency, price_rate; numbers as decimal text
//	usagebox.timestamp        int     spans only: microseconds since 1970, for its end may have been clamped
//
// The service is the resource's service.name. Trace id and span id are the record's or span's own.
const (
	attributePrefix = "usagebox."

	AttributeVersion        = attributePrefix + "version"
	AttributeEventID        = attributePrefix + "event_id"
	AttributeKind           = attributePrefix + "kind"
	AttributeCorrects       = attributePrefix + "corrects"
	AttributeCustomer       = attributePrefix + "customer"
	AttributeUserID         = attributePrefix + "user_id"
	AttributeSessionID      = attributePrefix + "session_id"
	AttributeConversationID = attributePrefix + "conversation_id"
	AttributeFeature        = attributePrefix + "feature"
	AttributeStep           = attributePrefix + "step"
	AttributeAgent          = attributePrefix + "agent"
	AttributeRunID          = attributePrefix + "run_id"
	AttributeOperation      = attributePrefix + "operation"
	AttributeProvider       = attributePrefix + "provider"
	AttributeModel          = attributePrefix + "model"
	AttributeSource         = attributePrefix + "source"
	AttributeFlags          = attributePrefix + "flags"
	AttributeDimensions     = attributePrefix + "dimensions"
	AttributeLines          = attributePrefix + "lines"
	AttributeTimestamp      = attributePrefix + "timestamp"

	attributeService = "service.name"

	encodingVersion = 1
)

// ErrNotUsage says that a log record or span carries no usage event.
var ErrNotUsage = errors.New("not a usage event")

func putAttributes(e *Event, m pcommon.Map) {
	fields := [...]struct{ key, value string }{
		{AttributeEventID, e.ID},
		{AttributeKind, string(e.Kind)},
		{AttributeCorrects, e.Corrects},
		{AttributeUserID, e.UserID},
		{AttributeSessionID, e.SessionID},
		{AttributeConversationID, e.ConversationID},
		{AttributeFeature, e.Feature},
		{AttributeStep, e.Step},
		{AttributeAgent, e.Agent},
		{AttributeRunID, e.RunID},
		{AttributeOperation, e.Operation},
		{AttributeProvider, e.Provider},
		{AttributeModel, e.Model},
		{AttributeSource, e.Source},
	}
	present := 2
	for i := range fields {
		if fields[i].value != "" {
			present++
		}
	}
	m.EnsureCapacity(present + min(1, len(e.Dimensions)) + min(1, len(e.Flags)))
	m.PutInt(AttributeVersion, encodingVersion)
	for _, f := range fields {
		if f.value != "" {
			m.PutStr(f.key, f.value)
		}
	}
	if len(e.Dimensions) > 0 {
		dimensions := m.PutEmptyMap(AttributeDimensions)
		dimensions.EnsureCapacity(len(e.Dimensions))
		for _, d := range e.Dimensions {
			dimensions.PutStr(d.Key, d.Value)
		}
	}
	putFlags(e, m)
	putLines(e, m)
}

func putFlags(e *Event, m pcommon.Map) {
	if len(e.Flags) == 0 {
		return
	}
	flags := m.PutEmptySlice(AttributeFlags)
	flags.EnsureCapacity(len(e.Flags))
	for _, f := range e.Flags {
		flags.AppendEmpty().SetStr(f)
	}
}

func putLines(e *Event, m pcommon.Map) {
	lines := m.PutEmptySlice(AttributeLines)
	lines.EnsureCapacity(len(e.Lines))
	for i := range e.Lines {
		putLine(&e.Lines[i], lines.AppendEmpty().SetEmptyMap())
	}
}

func putLine(l *Line, m pcommon.Map) {
	m.EnsureCapacity(6) // with the charge of one book
	m.PutStr("meter", l.Meter)
	m.PutStr("unit", l.Unit)
	m.PutStr("quantity", l.Quantity.String())
	putCharges(l, m)
}

func putCharges(l *Line, m pcommon.Map) {
	if l.Cost.Known() {
		m.PutStr("cost", l.Cost.Amount.String())
		m.PutStr("currency", l.Cost.Currency)
		m.PutStr("cost_rate", l.Cost.Rate)
	}
	if l.Price.Known() {
		m.PutStr("price", l.Price.Amount.String())
		m.PutStr("price_currency", l.Price.Currency)
		m.PutStr("price_rate", l.Price.Rate)
	}
}

// chargeLines puts the charges of e's lines into those that are there without any. ok is false, and nothing was changed, when there are others.
func chargeLines(e *Event, value pcommon.Value) (ok bool) {
	if value.Type() != pcommon.ValueTypeSlice || value.Slice().Len() != len(e.Lines) {
		return false
	}
	lines := value.Slice()
	for i, v := range lines.All() {
		const uncharged = 3 // what a line has then
		if v.Type() != pcommon.ValueTypeMap || v.Map().Len() != uncharged {
			return false
		}
		ok = false
		for key, value := range v.Map().All() {
			switch key {
			case "meter":
				ok = value.Str() == e.Lines[i].Meter // what it has of another type was not read
			case "unit", "quantity":
			default:
				return false
			}
			if !ok {
				return false
			}
		}
	}
	for i, v := range lines.All() {
		putCharges(&e.Lines[i], v.Map())
	}
	return true
}

func putResource(customer, service string, m pcommon.Map) {
	m.PutStr(AttributeCustomer, customer)
	if service != "" {
		m.PutStr(attributeService, service)
	}
}

// readAttributes fills e from a resource and a record. Attributes of other names are left alone.
func readAttributes(e *Event, resource, m pcommon.Map) error {
	if _, ok := m.Get(AttributeVersion); !ok {
		return ErrNotUsage
	}
	for key, value := range resource.All() {
		var err error
		switch key {
		case AttributeCustomer:
			e.Customer, err = str(key, value)
		case attributeService:
			e.Service = value.AsString()
		}
		if err != nil {
			return err
		}
	}
	for key, value := range m.All() {
		if err := readAttribute(e, key, value); err != nil {
			return err
		}
	}
	e.Normalize()
	return nil
}

func readAttribute(e *Event, key string, value pcommon.Value) (err error) {
	switch key {
	case AttributeVersion:
		if value.Type() != pcommon.ValueTypeInt || value.Int() != encodingVersion {
			return fmt.Errorf("%s is %s: this program reads version %d", key, value.AsString(), encodingVersion)
		}
	case AttributeEventID:
		e.ID, err = str(key, value)
	case AttributeKind:
		var kind string
		kind, err = str(key, value)
		e.Kind = Kind(kind)
	case AttributeCorrects:
		e.Corrects, err = str(key, value)
	case AttributeCustomer:
		e.Customer, err = str(key, value)
	case AttributeUserID:
		e.UserID, err = str(key, value)
	case AttributeSessionID:
		e.SessionID, err = str(key, value)
	case AttributeConversationID:
		e.ConversationID, err = str(key, value)
	case AttributeFeature:
		e.Feature, err = str(key, value)
	case AttributeStep:
		e.Step, err = str(key, value)
	case AttributeAgent:
		e.Agent, err = str(key, value)
	case AttributeRunID:
		e.RunID, err = str(key, value)
	case AttributeOperation:
		e.Operation, err = str(key, value)
	case AttributeProvider:
		e.Provider, err = str(key, value)
	case AttributeModel:
		e.Model, err = str(key, value)
	case AttributeSource:
		e.Source, err = str(key, value)
	case AttributeFlags:
		err = readFlags(e, value)
	case AttributeDimensions:
		err = readDimensions(e, value)
	case AttributeLines:
		err = readLines(e, value)
	}
	return err
}

func readFlags(e *Event, value pcommon.Value) error {
	if value.Type() != pcommon.ValueTypeSlice {
		return wrongType(AttributeFlags, "a list of strings", value)
	}
	flags := value.Slice()
	e.Flags = slices.Grow(e.Flags[:0], flags.Len())
	for _, v := range flags.All() {
		flag, err := str(AttributeFlags, v)
		if err != nil {
			return err
		}
		e.Flags = append(e.Flags, flag)
	}
	return nil
}

func readDimensions(e *Event, value pcommon.Value) error {
	if value.Type() != pcommon.ValueTypeMap {
		return wrongType(AttributeDimensions, "a map of strings", value)
	}
	m := value.Map()
	e.Dimensions = slices.Grow(e.Dimensions[:0], m.Len())
	for k, v := range m.All() {
		if v.Type() != pcommon.ValueTypeStr {
			return wrongType(AttributeDimensions+"."+k, "a string", v)
		}
		e.Dimensions = append(e.Dimensions, Dimension{k, v.Str()})
	}
	return nil
}

func readLines(e *Event, value pcommon.Value) error {
	if value.Type() != pcommon.ValueTypeSlice {
		return wrongType(AttributeLines, "a list of maps", value)
	}
	s := value.Slice()
	e.Lines = slices.Grow(e.Lines[:0], s.Len())[:s.Len()]
	clear(e.Lines)
	for i, v := range s.All() {
		if v.Type() != pcommon.ValueTypeMap {
			return wrongType(AttributeLines, "a list of maps", v)
		}
		for key, value := range v.Map().All() {
			if err := readLineField(&e.Lines[i], key, value); err != nil {
				return err
			}
		}
	}
	return nil
}

func readLineField(l *Line, key string, value pcommon.Value) error {
	if value.Type() != pcommon.ValueTypeStr {
		return wrongType(AttributeLines+"."+key, "a string", value)
	}
	text := value.Str()
	var err error
	switch key {
	case "meter":
		l.Meter = text
	case "unit":
		l.Unit = text
	case "quantity":
		l.Quantity, err = ParseQuantity(text)
	case "cost":
		l.Cost.Amount, err = ParseAmount(text)
	case "currency":
		l.Cost.Currency = text
	case "cost_rate":
		l.Cost.Rate = text
	case "price":
		l.Price.Amount, err = ParseAmount(text)
	case "price_currency":
		l.Price.Currency = text
	case "price_rate":
		l.Price.Rate = text
	}
	if err != nil {
		return fmt.Errorf("%s.%s %.32q %w", AttributeLines, key, text, err)
	}
	return nil
}

func str(key string, value pcommon.Value) (string, error) {
	if value.Type() != pcommon.ValueTypeStr {
		return "", wrongType(key, "a string", value)
	}
	return value.Str(), nil
}

func wrongType(key, want string, value pcommon.Value) error {
	return fmt.Errorf("%s is of type %s, not %s", key, value.Type(), want)
}
