package usagereceiver

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"strconv"

	"go.opentelemetry.io/collector/consumer/consumererror"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.uber.org/zap"

	"github.com/usagebox/otelcol-usagebox/usage"
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
	mux.HandleFunc(pathEvents, func(w http.ResponseWriter, q *http.Request) { r.post(w, q, r.events) })
	mux.HandleFunc(pathBatch, func(w http.ResponseWriter, q *http.Request) { r.post(w, q, r.batch) })
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
		fail(w, http.StatusNotFound, "there is nothing at "+q.URL.Path+": post events to "+pathEvents)
	})
	return mux
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
	fail(w, status, message+": nothing was taken, send it again")
}

// format says how a body is read.
type format func(body io.Reader, contentType string, p *parser) error

var errMediaType = errors.New("media type")

func (r *usageReceiver) events(body io.Reader, contentType string, p *parser) error {
	switch contentType {
	case "", "application/json", "application/cloudevents+json", "application/cloudevents-batch+json", "text/json":
		return p.json(body)
	case "application/x-www-form-urlencoded": // what curl -d says of any body
		return p.json(body)
	case "application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines", "application/json-lines":
		return p.lines(body)
	}
	return errMediaType
}

func (r *usageReceiver) batch(body io.Reader, contentType string, p *parser) error {
	switch contentType {
	case "", "application/json", "application/x-www-form-urlencoded":
		p.usagedb = true
		return p.batch(body)
	}
	return errMediaType
}

func (r *usageReceiver) post(w http.ResponseWriter, q *http.Request, read format) {
	if q.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		fail(w, http.StatusMethodNotAllowed, "use POST")
		return
	}
	contentType := q.Header.Get("Content-Type")
	if contentType != "" {
		var err error
		if contentType, _, err = mime.ParseMediaType(contentType); err != nil {
			fail(w, http.StatusUnsupportedMediaType, "the Content-Type can't be read: "+err.Error())
			return
		}
	}
	weight := r.config.ServerConfig.MaxRequestBodySize
	if q.ContentLength >= 0 && q.Header.Get("Content-Encoding") == "" {
		weight = min(weight, q.ContentLength)
	}
	if !r.inflight.TryAcquire(weight) {
		r.telemetry.UsageboxReceiverBusy.Add(q.Context(), 1)
		again(w, http.StatusTooManyRequests, "too much is being worked on")
		return
	}
	defer r.inflight.Release(weight)

	p := &parser{max: r.config.MaxEvents, latest: usage.MicrosOf(r.now().Add(r.config.MaxFuture))}
	if err := read(q.Body, contentType, p); err != nil {
		refuse(w, err)
		return
	}
	r.take(w, q, p)
}

// refuse answers to a body that could not be read to its end: nothing of it was taken.
func refuse(w http.ResponseWriter, err error) {
	var large *http.MaxBytesError
	switch {
	case errors.Is(err, errMediaType):
		fail(w, http.StatusUnsupportedMediaType, "send application/json, application/x-ndjson, application/cloudevents+json or application/cloudevents-batch+json")
	case errors.As(err, &large):
		fail(w, http.StatusRequestEntityTooLarge, "the body is larger than "+strconv.FormatInt(large.Limit, 10)+" bytes: nothing was taken, send it in smaller batches")
	case errors.Is(err, errTooMany):
		fail(w, http.StatusRequestEntityTooLarge, err.Error())
	default:
		fail(w, http.StatusBadRequest, "the body can't be read: "+err.Error()+": nothing was taken")
	}
}

// take gives the events to the pipeline and tells the sender what became of each.
func (r *usageReceiver) take(w http.ResponseWriter, q *http.Request, p *parser) {
	ctx := q.Context()
	found := len(p.events) + len(p.rejected)
	r.telemetry.UsageboxReceiverReceived.Add(ctx, int64(found))
	if found == 0 && !p.list {
		fail(w, http.StatusBadRequest, "the body is empty: send an event, an array of them, or one a line")
		return
	}
	if len(p.events) > 0 {
		err := r.next.ConsumeLogs(ctx, usage.EncodeLogs(p.events))
		if rejections, ok := usage.Rejected(err); ok {
			p.refused(rejections)
		} else if err != nil {
			r.failed(ctx, w, err, found)
			return
		}
	}
	p.sortVerdicts()
	a := answer{Accepted: found - len(p.rejected), Rejected: p.rejected}
	r.telemetry.UsageboxReceiverAccepted.Add(ctx, int64(a.Accepted))
	for _, v := range a.Rejected {
		r.telemetry.UsageboxReceiverRejected.Add(ctx, 1, metric.WithAttributes(attribute.String("reason", v.Reason)))
	}
	switch {
	case len(a.Rejected) == 0:
		reply(w, http.StatusAccepted, a)
	case a.Accepted > 0:
		reply(w, http.StatusMultiStatus, a)
	default:
		reply(w, http.StatusBadRequest, a)
	}
}

func (r *usageReceiver) failed(ctx context.Context, w http.ResponseWriter, err error, events int) {
	r.telemetry.UsageboxReceiverFailed.Add(ctx, int64(events))
	r.settings.Logger.Warn("events were not taken, the sender was told", zap.Int("events", events), zap.Error(err))
	if consumererror.IsPermanent(err) {
		fail(w, http.StatusInternalServerError, "the pipeline refused the events: "+err.Error())
		return
	}
	again(w, http.StatusServiceUnavailable, "the events could not be made durable")
}
