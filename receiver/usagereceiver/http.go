package usagereceiver

import (
	_ "embed"
	"encoding/json"
	"net/http"
	"strconv"
)

//go:embed openapi.json
var openAPI []byte

const (
	pathEvents  = "/v1/events"
	pathBatch   = "/v1/usage/batch"
	pathOpenAPI = "/v1/openapi.json"

	retryAfter = 2 // seconds
)

func (r *usageReceiver) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc(pathEvents, func(w http.ResponseWriter, q *http.Request) { r.post(w, q, events) })
	mux.HandleFunc(pathBatch, func(w http.ResponseWriter, q *http.Request) { r.post(w, q, batch) })
	mux.HandleFunc(pathOpenAPI, func(w http.ResponseWriter, q *http.Request) {
		if q.Method != http.MethodGet && q.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			fail(w, http.StatusMethodNotAllowed, "use GET")
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(openAPI)
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, q *http.Request) {
		fail(w, http.StatusNotFound, "there is nothing at "+printable(q.URL.Path, maxDetail)+": post events to "+pathEvents)
	})
	return http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		r.requests.Add(1)
		defer r.requests.Done()
		mux.ServeHTTP(w, q)
	})
}

// answer is the body of every answer to a post that was read.
type answer struct {
	Accepted int       `json:"accepted"`
	Rejected []verdict `json:"rejected,omitempty"`
}

// verdict names an event that was not taken.
type verdict struct {
	Index   int    `json:"index"`
	EventID string `json:"event_id"`
	Reason  string `json:"reason"`
	Detail  string `json:"detail,omitempty"`
}

type failure struct {
	Error string `json:"error"`
}

func reply(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // the sender has gone: it will send again
}

func fail(w http.ResponseWriter, status int, message string) { reply(w, status, failure{message}) }

func again(w http.ResponseWriter, status int, message string) {
	w.Header().Set("Retry-After", strconv.Itoa(retryAfter))
	fail(w, status, message+": send it again")
}
