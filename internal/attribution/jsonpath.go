package attribution

import (
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
	"go.opentelemetry.io/collector/pdata/pcommon"
)

// maxJSON is how much JSON text in an attribute is looked into.
const maxJSON = 1 << 20

// findJSON gives the first value at path in JSON text; * in path is any name or index. Text that is no JSON has none.
func findJSON(text string, path []string) (jsontext.Value, bool) {
	if len(text) > maxJSON || text == "" {
		return nil, false
	}
	d := jsontext.NewDecoder(strings.NewReader(text), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	value, found, err := find(d, path)
	if err != nil || !found {
		return nil, false
	}
	return value, true
}

func find(d *jsontext.Decoder, path []string) (value jsontext.Value, found bool, err error) {
	if len(path) == 0 {
		value, err = d.ReadValue()
		return value, err == nil, err
	}
	open := d.PeekKind()
	if open != '{' && open != '[' {
		return nil, false, d.SkipValue()
	}
	if _, err := d.ReadToken(); err != nil {
		return nil, false, err
	}
	for i := 0; d.PeekKind() != '}' && d.PeekKind() != ']'; i++ {
		step := strconv.Itoa(i)
		if open == '{' {
			name, err := d.ReadToken()
			if err != nil {
				return nil, false, err
			}
			step = name.String()
		}
		if path[0] != "*" && path[0] != step {
			if err := d.SkipValue(); err != nil {
				return nil, false, err
			}
			continue
		}
		if value, found, err = find(d, path[1:]); found || err != nil {
			return value, found, err
		}
	}
	_, err = d.ReadToken()
	return nil, false, err
}

// jsonText is a JSON string or number as text.
func jsonText(v jsontext.Value) (string, bool) {
	switch v.Kind() {
	case '"':
		s, err := jsontext.AppendUnquote(nil, v)
		return string(s), err == nil
	case '0':
		return string(v), true
	}
	return "", false
}

// findValue is findJSON for a map or list.
func findValue(v pcommon.Value, path []string) (pcommon.Value, bool) {
	if len(path) == 0 {
		return v, true
	}
	switch v.Type() {
	case pcommon.ValueTypeMap:
		if path[0] != "*" {
			next, ok := v.Map().Get(path[0])
			if !ok {
				return pcommon.Value{}, false
			}
			return findValue(next, path[1:])
		}
		for _, next := range v.Map().All() {
			if found, ok := findValue(next, path[1:]); ok {
				return found, true
			}
		}
	case pcommon.ValueTypeSlice:
		for i, next := range v.Slice().All() {
			if path[0] == "*" || path[0] == strconv.Itoa(i) {
				if found, ok := findValue(next, path[1:]); ok {
					return found, true
				}
			}
		}
	}
	return pcommon.Value{}, false
}
