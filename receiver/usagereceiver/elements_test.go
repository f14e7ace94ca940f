package usagereceiver

import (
	"bytes"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"

	"github.com/usagebox/otelcol-usagebox/usage"
)

func cutAll(t interface{ Fatal(...any) }, list string, reader func(io.Reader) io.Reader) (texts []string, err error) {
	s := &elements{body: reader(strings.NewReader(list))}
	if c, _ := s.peek(); c != '[' {
		t.Fatal("no list")
	}
	s.at++
	for {
		text, err := s.until(']')
		if err != nil {
			return texts, err
		}
		texts = append(texts, string(text))
		s.at++
		if s.buf[s.at-1] == ']' {
			return texts, nil
		}
	}
}

func TestAListIsCutWhereItsElementsEndHoweverItArrives(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		scalar := rapid.SampledFrom([]string{`1`, `-1.5e9`, `true`, `null`, `NaN`, `-Infinity`, `""`, `"a,b"`, `"]}[{"`, `"\""`, `"\\"`, `"\\\"]"`, `"\ud83d"`, "\"\xff\"", "\"a\nb\"", `'x'`})
		var value func(depth int) *rapid.Generator[string]
		value = func(depth int) *rapid.Generator[string] {
			return rapid.Custom(func(t *rapid.T) string {
				if depth == 0 || rapid.Bool().Draw(t, "scalar") {
					return scalar.Draw(t, "value")
				}
				values := rapid.SliceOfN(value(depth-1), 0, 3).Draw(t, "values")
				if rapid.Bool().Draw(t, "list") {
					return "[" + strings.Join(values, " ,\n") + "]"
				}
				for i := range values {
					values[i] = `"k" : ` + values[i]
				}
				return "{ " + strings.Join(values, ",") + "}"
			})
		}
		want := rapid.SliceOfN(value(3), 1, 5).Draw(t, "elements")
		list := " [ " + strings.Join(want, "\t, ") + " ]"
		for _, reader := range []func(io.Reader) io.Reader{func(r io.Reader) io.Reader { return r }, iotest.OneByteReader, iotest.DataErrReader} {
			if got, err := cutAll(t, list, reader); err != nil || !slices.Equal(got, want) {
				t.Fatalf("%q is cut into %q, %v", list, got, err)
			}
		}
	})
}

func TestALongElementIsCutWhole(t *testing.T) {
	long := `{"x":"` + strings.Repeat(`\"`, 3*readAhead) + `"}`
	got, err := cutAll(t, "["+long+","+long+"]", func(r io.Reader) io.Reader { return r })
	if err != nil || !slices.Equal(got, []string{long, long}) {
		t.Fatal(len(got), err)
	}
}

// An event that is lost within another's broken text must not go unnamed: where the end of an element can't be told, nothing behind it is taken.
func TestABrokenElementIsToldFromItsNeighboursOrEndsTheBody(t *testing.T) {
	one, two := curl, strings.Replace(curl, "req_8x42jk", "two", 1)
	for name, q := range map[string]struct {
		element  string
		isolated bool
	}{
		"NaN, as Python writes it":  {strings.Replace(curl, "12450", "NaN", 1), true},
		"a trailing comma":          {`{"event_id":"x",}`, true},
		"an unknown escape":         {`{"event_id":"\x41"}`, true},
		"a line break in a string":  {"{\"event_id\":\"a\nb\"}", true},
		"single quotes":             {`{'event_id': 'a'}`, true},
		"nothing":                   {``, true},
		"a name without a value":    {`{"event_id"}`, true},
		"a value without a name":    {`{:1}`, true},
		"deeper than anybody reads": {strings.Repeat("[", 20000) + strings.Repeat("]", 20000), true},
		"two with no comma":         {`{"event_id":"x"} {"event_id":"y"}`, true},
		"an open string":            {`{"event_id":"x,"meter":"m"}`, false},
		"an open bracket":           {`{"dimensions":{"event_id":"x"}`, false},
		"a bracket too many":        {`{"event_id":"x"}}`, false},
		"the wrong bracket":         {`{"event_id":"x"]`, false},
		"no comma within":           {`{"event_id":"x" "meter":"m"}`, false},
	} {
		t.Run(name, func(t *testing.T) {
			for path, body := range map[string]string{
				pathEvents: "[" + one + "," + q.element + "," + two + "]",
				pathBatch:  `{"a":[{}],"events":[` + one + "," + q.element + "," + two + `],"b":"]"}`,
			} {
				c := newClient(t, nil)
				code, a, message := c.post(path, "application/json", body)
				want := 1
				if q.isolated {
					want = 2
				}
				if code != http.StatusMultiStatus || a.Accepted != want || len(c.p.events) != want || len(a.Rejected) != 1 ||
					a.Rejected[0].Index != 1 || a.Rejected[0].Detail == "" {
					t.Fatalf("%d %+v %s", code, a, message)
				}
				if says := strings.Contains(a.Rejected[0].Detail, "nothing from this element on was taken"); says == q.isolated {
					t.Fatalf("the verdict says %q", a.Rejected[0].Detail)
				}
			}
		})
	}
}

func FuzzBodies(f *testing.F) {
	for _, s := range []string{
		curl, "[" + curl + "]", curl + "\n" + curl, `{"events":[` + curl + `]}`, `[{"quantities":{"a":"1e-6"}},null,[[]]]`, cloud,
		`[{"specversion":"1.0","data_base64":"e30="},NaN,{"a":"\"]"},]`, `{"a":"b" : ,"events":[]`,
	} {
		for form := range byte(3) {
			f.Add([]byte(s), form)
		}
	}
	f.Fuzz(func(t *testing.T, body []byte, form byte) {
		var counts [2][3]int
		for i, reader := range []io.Reader{bytes.NewReader(body), iotest.OneByteReader(bytes.NewReader(body))} {
			p := newParser(1000, usage.MicrosOf(now))
			var err error
			switch form % 3 {
			case 0:
				err = p.json(reader)
			case 1:
				err = p.lines(reader)
			default:
				p.usagedb = true
				err = p.batch(reader)
			}
			if err == nil && (len(p.events)+len(p.rejected) != p.count || len(p.index) != len(p.events)) {
				t.Fatalf("%d events, %d rejected, %d seen", len(p.events), len(p.rejected), p.count)
			}
			for i := range p.events {
				if err := p.events[i].Validate(); err != nil {
					t.Fatal(err)
				}
			}
			counts[i] = [3]int{len(p.events), len(p.rejected), p.count}
			p.release()
		}
		if counts[0] != counts[1] {
			t.Fatalf("read at once: %v, byte by byte: %v", counts[0], counts[1])
		}
	})
}
