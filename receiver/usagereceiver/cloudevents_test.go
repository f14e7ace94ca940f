package usagereceiver

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/usagebox/otelcol-usagebox/usage"
)

const cloud = `{"specversion":"1.0","id":"req_8x42jk","source":"app","type":"llm_tokens_in","subject":"acme-co","time":"2026-05-16T18:42:11Z","data":{"value":12450,"model":"claude-4.5-sonnet"}}`

func TestWhatACloudEventMeans(t *testing.T) {
	envelope := func(rest string) string {
		return `{"specversion":"1.0","id":"1","source":"app","type":"prompt","subject":"acme","time":"2026-05-16T18:42:11Z"` + rest + `}`
	}
	encoded := base64.StdEncoding.EncodeToString([]byte(`{"value":"2.5","model":"m"}`))
	for name, q := range map[string]struct{ body, want string }{
		"no data: one of its type":       {envelope(``), "acme prompt=1 [{source app}]"},
		"null data":                      {envelope(`,"data":null`), "acme prompt=1 [{source app}]"},
		"data without a quantity":        {envelope(`,"data":{"tokens":"12","type":"output"}`), "acme prompt=1 [{source app} {tokens 12} {type output}]"},
		"a meter in data":                {envelope(`,"data":{"meter":"gpu","quantity":3,"type":"x","source":"y","id":"z"}`), "acme gpu=3 [{ce_source app} {ce_type prompt} {id z} {source y} {type x}]"},
		"quantities":                     {envelope(`,"data":{"quantities":{"b":1,"a":2}}`), "acme a=2 b=1 [{source app} {type prompt}]"},
		"an account in data":             {envelope(`,"data":{"account_id":"globex"}`), "globex prompt=1 [{source app} {subject acme}]"},
		"base64":                         {envelope(`,"data_base64":"` + encoded + `"`), "acme prompt=2.5 [{source app}]"},
		"extensions":                     {envelope(`,"region":"eu","data":{"value":1}`), "acme prompt=1 [{region eu} {source app}]"},
		"data that is text":              {envelope(`,"data":"12"`), usage.ReasonInvalidField},
		"data that is a list":            {envelope(`,"data":[1]`), usage.ReasonInvalidField},
		"base64 of something else":       {envelope(`,"data_base64":"MTI="`), usage.ReasonInvalidField},
		"no base64":                      {envelope(`,"data_base64":"*"`), usage.ReasonInvalidField},
		"base64 of broken JSON":          {envelope(`,"data_base64":"eyJ2YWx1ZSI6MQ=="`), usage.ReasonInvalidJSON},
		"an unknown version":             {`{"specversion":"2.0","id":"1","type":"t","subject":"a","time":"2026-05-16T18:42:11Z"}`, usage.ReasonInvalidField},
		"no time":                        {`{"specversion":"1.0","id":"1","type":"t","subject":"a"}`, usage.ReasonMissingField},
		"no subject":                     {`{"specversion":"1.0","id":"1","type":"t","time":"2026-05-16T18:42:11Z"}`, usage.ReasonMissingField},
		"two ids":                        {envelope(`,"data":{"event_id":"2"}`), usage.ReasonInvalidField},
		"two times":                      {envelope(`,"data":{"timestamp":"2026-05-16T18:42:12Z"}`), usage.ReasonInvalidField},
		"two quantities":                 {envelope(`,"data":{"value":1,"quantity":2}`), usage.ReasonInvalidField},
		"the same time twice":            {envelope(`,"data":{"timestamp":1778956931}`), "acme prompt=1 [{source app}]"},
		"a quantity that is not exact":   {envelope(`,"data":{"value":0.1234567}`), usage.ReasonInvalidQuantity},
		"a correction without amount":    {envelope(`,"data":{"kind":"correction","corrects":"0"}`), usage.ReasonMissingField},
		"a retraction without a target":  {envelope(`,"data":{"kind":"retraction"}`), usage.ReasonMissingField},
		"a name twice in data, escaped":  {envelope(`,"data":{"value":1,"valu\u0065":2}`), usage.ReasonInvalidJSON},
		"a name twice around the data":   {envelope(`,"type":"x"`), usage.ReasonInvalidJSON},
		"dimensions in and beside":       {envelope(`,"data":{"dimensions":{"a":1},"b":true}`), "acme prompt=1 [{a 1} {b true} {source app}]"},
		"data's own value beside a type": {envelope(`,"data":{"meter":"m","value":"1e3"}`), "acme m=1000 [{source app} {type prompt}]"},
	} {
		t.Run(name, func(t *testing.T) {
			c := newClient(t, nil)
			code, a, message := c.post(pathEvents, "application/cloudevents+json", q.body)
			got := message
			switch {
			case code == http.StatusAccepted:
				e := c.p.events[0]
				got = e.Customer
				for _, l := range e.Lines {
					got += fmt.Sprintf(" %s=%s", l.Meter, l.Quantity)
				}
				got += fmt.Sprint(" ", e.Dimensions)
			case len(a.Rejected) == 1:
				got = a.Rejected[0].Reason
				if id := a.Rejected[0].EventID; id != "1" && !strings.Contains(name, "version") {
					t.Errorf("the verdict names %q", id)
				}
			}
			if got != q.want {
				t.Fatalf("%d %s, want %s (%+v)", code, got, q.want, a)
			}
		})
	}
}

func TestACloudEventInBinaryModeIsTheSameEvent(t *testing.T) {
	c := newClient(t, nil)
	if code, a, _ := c.post(pathEvents, "application/cloudevents+json", cloud); code != http.StatusAccepted {
		t.Fatal(code, a)
	}
	send := func(id, body string) int {
		q := httptest.NewRequest(http.MethodPost, pathEvents, strings.NewReader(body))
		for name, value := range map[string]string{
			"Content-Type": "application/json", "ce-specversion": "1.0", "ce-id": id, "ce-source": "app", "ce-type": "llm_tokens_in",
			"ce-subject": "acme%2Dco", "ce-time": "2026-05-16T18:42:11Z",
		} {
			q.Header.Set(name, value)
		}
		w := httptest.NewRecorder()
		c.handler.ServeHTTP(w, q)
		c.conforms(pathEvents, w)
		return w.Code
	}
	if code := send("req_8x42jk", `{"value":12450,"model":"claude-4.5-sonnet"}`); code != http.StatusAccepted || len(c.p.events) != 2 {
		t.Fatal(code)
	}
	if c.p.events[0].Payload() != c.p.events[1].Payload() {
		t.Fatalf("%+v\n%+v", c.p.events[0], c.p.events[1])
	}
	if code := send("empty", ""); code != http.StatusAccepted || c.p.events[2].Lines[0].Quantity != usage.Units(1) {
		t.Fatal(code)
	}
	for name, body := range map[string]string{"a list": `[1]`, "two": `{} {}`, "broken": `{"value":`} {
		if code := send(name, body); code != http.StatusBadRequest {
			t.Errorf("%s: %d", name, code)
		}
	}
	if code := send("%zz", `{}`); code != http.StatusBadRequest {
		t.Error(code)
	}
}
