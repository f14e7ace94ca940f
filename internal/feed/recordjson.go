package feed

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// appendRecord appends a record's JSON, the very bytes that encoding/json writes: a record is written three times and read once on its way, and the general way took
// most of the feed's time.
func appendRecord(b []byte, r *Record) []byte {
	b = appendText(append(b, `{"id":`...), r.ID)
	b = appendText(append(b, `,"customer":`...), r.Customer)
	b = appendText(append(b, `,"external_customer":`...), r.ExternalCustomer)
	b = appendText(append(b, `,"meter":`...), r.Meter)
	b = appendText(append(b, `,"unit":`...), r.Unit)
	b = appendText(append(b, `,"quantity":`...), r.Quantity)
	b = appendOptional(append(b, `,"cost":`...), r.Cost)
	b = appendOptional(append(b, `,"price":`...), r.Price)
	b = appendOptional(append(b, `,"currency":`...), r.Currency)
	b = appendOptional(append(b, `,"price_currency":`...), r.PriceCurrency)
	b = appendText(append(b, `,"value":`...), r.Value)
	b = appendText(append(b, `,"hour":`...), r.Hour)
	b = strconv.AppendUint(append(b, `,"revision":`...), uint64(r.Revision), 10)
	b = appendDimensions(append(b, `,"dimensions":`...), r.Dimensions)
	b = appendText(append(b, `,"timestamp":`...), r.Timestamp)
	b = appendText(append(b, `,"created_at":`...), r.CreatedAt)
	if r.SentAt != "" {
		b = appendText(append(b, `,"sent_at":`...), r.SentAt)
	}
	b = appendText(append(b, `,"writer":`...), r.Writer)
	return append(b, '}')
}

// appendText appends a JSON string. What has to be escaped is left to encoding/json.
func appendText(b []byte, text string) []byte {
	for i := range len(text) {
		if c := text[i]; c < ' ' || c > '~' || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			escaped, err := json.Marshal(text)
			if err != nil {
				panic(err) // a string
			}
			return append(b, escaped...)
		}
	}
	return append(append(append(b, '"'), text...), '"')
}

func appendOptional(b []byte, text *string) []byte {
	if text == nil {
		return append(b, "null"...)
	}
	return appendText(b, *text)
}

func appendDimensions(b []byte, dimensions map[string]string) []byte {
	if dimensions == nil {
		return append(b, "null"...)
	}
	b = append(b, '{')
	for i, name := range slices.Sorted(maps.Keys(dimensions)) {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendText(append(appendText(b, name), ':'), dimensions[name])
	}
	return append(b, '}')
}

// parseRecord reads a record's JSON: what appendRecord has written fast, everything else as encoding/json does.
func parseRecord(key, value []byte) (r Record, err error) {
	p := recordParser{rest: string(value), plain: true}
	p.word(`{"id":`)
	r.ID = p.text()
	p.word(`,"customer":`)
	r.Customer = p.text()
	p.word(`,"external_customer":`)
	r.ExternalCustomer = p.text()
	p.word(`,"meter":`)
	r.Meter = p.text()
	p.word(`,"unit":`)
	r.Unit = p.text()
	p.word(`,"quantity":`)
	r.Quantity = p.text()
	p.word(`,"cost":`)
	r.Cost = p.optional()
	p.word(`,"price":`)
	r.Price = p.optional()
	p.word(`,"currency":`)
	r.Currency = p.optional()
	p.word(`,"price_currency":`)
	r.PriceCurrency = p.optional()
	p.word(`,"value":`)
	r.Value = p.text()
	p.word(`,"hour":`)
	r.Hour = p.text()
	p.word(`,"revision":`)
	r.Revision = p.number()
	p.word(`,"dimensions":`)
	r.Dimensions = p.dimensions()
	p.word(`,"timestamp":`)
	r.Timestamp = p.text()
	p.word(`,"created_at":`)
	r.CreatedAt = p.text()
	if p.try(`,"sent_at":`) {
		r.SentAt = p.text()
	}
	p.word(`,"writer":`)
	r.Writer = p.text()
	p.word("}")
	if p.plain && p.rest == "" {
		return r, nil
	}
	r = Record{}
	return r, readJSON(key, value, &r)
}

// recordParser reads the one form of a record's JSON that has nothing escaped. Once it is something else plain is false.
type recordParser struct {
	rest  string
	plain bool
}

func (p *recordParser) try(word string) (found bool) {
	p.rest, found = strings.CutPrefix(p.rest, word)
	return found
}

func (p *recordParser) word(word string) { p.plain = p.try(word) && p.plain }

func (p *recordParser) text() string {
	p.word(`"`)
	for i := range len(p.rest) {
		switch c := p.rest[i]; {
		case c == '"':
			text := p.rest[:i]
			p.rest = p.rest[i+1:]
			return text
		case c < ' ' || c > '~' || c == '\\':
			p.plain = false
			return ""
		}
	}
	p.plain = false
	return ""
}

func (p *recordParser) optional() *string {
	if p.try("null") {
		return nil
	}
	text := p.text()
	return &text
}

func (p *recordParser) number() uint32 {
	digits := 0
	for digits < len(p.rest) && p.rest[digits] >= '0' && p.rest[digits] <= '9' {
		digits++
	}
	n, err := strconv.ParseUint(p.rest[:digits], 10, 32)
	if err != nil || digits > 1 && p.rest[0] == '0' {
		p.plain = false
	}
	p.rest = p.rest[digits:]
	return uint32(n)
}

func (p *recordParser) dimensions() map[string]string {
	if p.try("null") {
		return nil
	}
	p.word("{")
	all := map[string]string{}
	for p.plain && !p.try("}") {
		if len(all) > 0 {
			p.word(",")
		}
		name := p.text()
		p.word(":")
		all[name] = p.text()
	}
	return all
}

// A quotation mark within a text is escaped in JSON, and no dimension is called so: what looks like one of these keys is the key.
const (
	hourKeyText   = `,"hour":"`
	sentAtKeyText = `,"sent_at":"`
)

// lineDay is the day of delivery in a line that appendRecord has written, "" when it isn't seen at once.
func lineDay(line []byte) string {
	const length = len(time.DateOnly)
	i := bytes.LastIndex(line, []byte(sentAtKeyText))
	if i < 0 || len(line) < i+len(sentAtKeyText)+length {
		return ""
	}
	day := string(line[i+len(sentAtKeyText):][:length])
	if strings.Trim(day, "-0123456789") != "" {
		return ""
	}
	return day
}

// lineHour is the hour in such a line; plain is false when it isn't seen at once.
func lineHour(line []byte) (hour string, plain bool) {
	_, behind, found := bytes.Cut(line, []byte(hourKeyText))
	hourText, _, ended := bytes.Cut(behind, []byte{'"'})
	return string(hourText), found && ended
}

// lineID is the id in such a line; plain is false when it isn't seen at once.
func lineID(line []byte) (id string, plain bool) {
	p := recordParser{rest: string(line[:min(len(line), 100)]), plain: true}
	p.word(`{"id":`)
	id = p.text()
	return id, p.plain
}
