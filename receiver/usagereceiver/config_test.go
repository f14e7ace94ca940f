package usagereceiver

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"go.opentelemetry.io/collector/confmap"
)

func TestAWrongConfigurationIsToldByItsFieldAndWhatItAccepts(t *testing.T) {
	for name, q := range map[string]struct {
		config map[string]any
		want   string
	}{
		"the default":  {nil, ""},
		"a large body": {map[string]any{"max_request_body_size": 1 << 30}, ""},
		"everything of ours and some of the server's": {map[string]any{
			"endpoint": "localhost:0", "max_future": "1m", "max_events": 1, "max_inflight_size": 1 << 30, "read_timeout": "1m", "transport": "tcp4",
			"include_metadata": true, "response_headers": map[string]any{"x": "y"}, "cors": map[string]any{"allowed_origins": []any{"*"}},
		}, ""},
		"no endpoint":              {map[string]any{"endpoint": ""}, "endpoint is empty: set host:port"},
		"no body":                  {map[string]any{"max_request_body_size": 0}, "max_request_body_size is 0 bytes: it must be above 0"},
		"the past":                 {map[string]any{"max_future": "-1s"}, "max_future is -1s: it must be 0s to 24h"},
		"next week":                {map[string]any{"max_future": "168h"}, "max_future is 168h0m0s: it must be 0s to 24h"},
		"a bad duration":           {map[string]any{"max_future": "soon"}, "max_future"},
		"no events":                {map[string]any{"max_events": 0}, "max_events is 0: it must be 1 to 1000000"},
		"less room than one body":  {map[string]any{"max_inflight_size": 1}, "max_inflight_size is 1 bytes, below max_request_body_size, 20971520"},
		"a key that nobody knows":  {map[string]any{"max_past": "1h"}, "has invalid keys: max_past; the keys are auth, "},
		"a port that is none":      {map[string]any{"endpoint": "localhost"}, `endpoint is "localhost": it must be host:port`},
		"a key file without a key": {map[string]any{"tls": map[string]any{"cert_file": "x"}}, "tls"},
	} {
		t.Run(name, func(t *testing.T) {
			config := createDefaultConfig()
			err := confmap.NewFromStringMap(q.config).Unmarshal(config)
			if err == nil {
				err = confmap.Validate(config)
			}
			switch {
			case q.want == "" && err != nil:
				t.Fatal(err)
			case q.want != "" && (err == nil || !strings.Contains(err.Error(), q.want)):
				t.Fatalf("%v, want %s", err, q.want)
			}
		})
	}
}

func TestEveryPathAnswersInJSON(t *testing.T) {
	c := newClient(t, nil)
	for _, q := range []struct {
		method, path string
		code         int
		allow        string
	}{
		{http.MethodGet, pathOpenAPI, http.StatusOK, ""},
		{http.MethodPost, pathOpenAPI, http.StatusMethodNotAllowed, "GET, HEAD"},
		{http.MethodGet, pathEvents, http.StatusMethodNotAllowed, "POST"},
		{http.MethodPut, pathBatch, http.StatusMethodNotAllowed, "POST"},
		{http.MethodPost, "/v1/event", http.StatusNotFound, ""},
		{http.MethodGet, "/", http.StatusNotFound, ""},
	} {
		w := httptest.NewRecorder()
		c.handler.ServeHTTP(w, httptest.NewRequest(q.method, q.path, nil))
		if w.Code != q.code || w.Header().Get("Allow") != q.allow || !json.Valid(w.Body.Bytes()) || w.Header().Get("Content-Type") != "application/json" {
			t.Errorf("%s %s: %d %v %s", q.method, q.path, w.Code, w.Header(), w.Body)
		}
	}
}
