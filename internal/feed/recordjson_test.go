package feed

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
)

// A record's JSON is what encoding/json writes, whatever is in its texts, and it is read back as encoding/json reads it.
func FuzzARecordsJSONIsThatOfEncodingJSON(f *testing.F) {
	f.Add("ubx_1", "acme", "", "gpt", "5", uint32(1), "2026-11-27T01:02:03Z", uint8(0))
	f.Add(`a"b\c`, "<&>\u2028", "\xff", `,"sent_at":"2026-11-27`, "-0.5", uint32(0), "", uint8(1))
	f.Add("é", "\x00", "\n", "}", "null", uint32(1<<31), "2026", uint8(255))
	f.Fuzz(func(t *testing.T, id, customer, external, model, number string, revision uint32, at string, which uint8) {
		r := Record{
			ID: id, Customer: customer, ExternalCustomer: external, Meter: model, Unit: customer, Quantity: number, Value: number, Hour: at, Revision: revision,
			Timestamp: at, CreatedAt: at, Writer: external,
		}
		if which&1 != 0 {
			r.Cost, r.PriceCurrency = &number, &customer
		}
		if which&2 != 0 {
			r.Price, r.Currency = &model, &at
		}
		if which&4 != 0 {
			r.SentAt = at
		}
		if which&8 != 0 {
			r.Dimensions = map[string]string{"model": model, "feature": external, customer: id}
		} else if which&16 != 0 {
			r.Dimensions = map[string]string{}
		}
		want, err := json.Marshal(&r)
		if err != nil {
			t.Fatal(err)
		}
		got := appendRecord(nil, &r)
		if !bytes.Equal(got, want) {
			t.Fatalf("%s\nencoding/json writes\n%s", got, want)
		}
		sameRecord(t, got)
		if r.Dimensions != nil {
			r.Dimensions = map[string]string{"model": model, "feature": external} // as feeds have them
		}
		line := appendRecord(nil, &r)
		if day := lineDay(line); !strings.HasPrefix(r.SentAt, day) {
			t.Fatalf("the day of %s is read as %q", line, day)
		}
		if seen, plain := lineID(line); plain && seen != r.ID {
			t.Fatalf("the id of %s is read as %q", line, seen)
		}
		var read Record
		_ = json.Unmarshal(line, &read) // it was read before
		if hour, plain := lineHour(line); plain && hour != read.Hour && appendedPlain(read.Hour) {
			t.Fatalf("the hour of %s is read as %q", line, hour)
		}
	})
}

// What someone else has written is read as encoding/json reads it.
func FuzzARecordIsReadAsByEncodingJSON(f *testing.F) {
	f.Add(appendRecord(nil, &Record{ID: "ubx_1", Dimensions: map[string]string{"model": "gpt"}, SentAt: "2026-11-27T01:02:03Z"}))
	for _, text := range []string{"", "null", "{}", "[1]", `{"id":"a","id":"b"}`, `{"customer":"acme","id":"ubx_1"}`, `{"id":"a"} `, `{"id":1}`} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) { sameRecord(t, text) })
}

func sameRecord(t *testing.T, text []byte) {
	t.Helper()
	var want Record
	err := json.Unmarshal(text, &want)
	got, gotErr := parseRecord([]byte("key"), text)
	if (err == nil) != (gotErr == nil) || err == nil && !reflect.DeepEqual(got, want) {
		t.Fatalf("%q is read as\n%+v %v\nby encoding/json as\n%+v %v", text, got, gotErr, want, err)
	}
}

// appendedPlain says whether nothing of a text is escaped.
func appendedPlain(text string) bool { return string(appendText(nil, text)) == `"`+text+`"` }
