package usagereceiver

import (
	"context"
	"errors"
	"io"
	"mime"
	"net"
	"net/http"
	"strconv"

	"go.opentelemetry.io/collector/consumer/consumererror"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.uber.org/zap"

	"github.com/usagebox/otelcol-usagebox/usage"
)

// format says how a body is read.
type format func(body io.Reader, contentType string, p *parser) error

var errMediaType = errors.New("media type")

func events(body io.Reader, contentType string, p *parser) error {
	switch contentType {
	case "", "application/json", "text/json", "application/cloudevents+json", "application/cloudevents-batch+json",
		"application/x-www-form-urlencoded": // what curl -d says of any body
		return p.json(body)
	case "application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines", "application/json-lines":
		return p.lines(body)
	}
	return errMediaType
}

func batch(body io.Reader, contentType string, p *parser) error {
	switch contentType {
	case "", "application/json", "text/json", "application/x-www-form-urlencoded":
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
	if limit := r.config.ServerConfig.MaxRequestBodySize; q.ContentLength > limit {
		refuse(w, &http.MaxBytesError{Limit: limit})
		return
	}
	body := &inflight{body: q.Body, room: r.room}
	defer body.release()
	whole, err := structured(q.Header, body, q.ContentLength == 0)
	if err != nil {
		refuse(w, err)
		return
	}
	p := newParser(r.config.MaxEvents, usage.MicrosOf(r.now().Add(r.config.MaxFuture)))
	err = read(whole, contentType, p)
	r.telemetry.UsageboxReceiverBodySize.Record(q.Context(), body.held)
	switch {
	case errors.Is(err, errBusy):
		r.telemetry.UsageboxReceiverBusy.Add(q.Context(), 1)
		again(w, http.StatusTooManyRequests, err.Error()+": nothing was taken")
	case err != nil:
		refuse(w, err)
	default:
		r.take(w, q, p)
	}
	p.release()
}

// refuse answers to a body that could not be read to its end: nothing of it was taken.
func refuse(w http.ResponseWriter, err error) {
	var large *http.MaxBytesError
	var network net.Error
	switch {
	case errors.Is(err, errMediaType):
		fail(w, http.StatusUnsupportedMediaType, "send application/json, application/x-ndjson, application/cloudevents+json or application/cloudevents-batch+json")
	case errors.As(err, &large):
		fail(w, http.StatusRequestEntityTooLarge, "the body is larger than "+strconv.FormatInt(large.Limit, 10)+" bytes: nothing was taken, send it in smaller batches")
	case errors.Is(err, errTooMany):
		fail(w, http.StatusRequestEntityTooLarge, err.Error())
	case errors.As(err, &network):
		again(w, http.StatusServiceUnavailable, "the body did not arrive whole: nothing was taken")
	default:
		fail(w, http.StatusBadRequest, "the body can't be read: "+err.Error()+": nothing was taken")
	}
}

// take gives the events to the pipeline and tells the sender what became of each.
func (r *usageReceiver) take(w http.ResponseWriter, q *http.Request, p *parser) {
	ctx := q.Context()
	r.telemetry.UsageboxReceiverReceived.Add(ctx, int64(p.count))
	if p.count == 0 && !p.list {
		fail(w, http.StatusBadRequest, "the body holds no event: send an event, an array of them, or one a line; to "+pathBatch+" an object with the list \"events\"")
		return
	}
	if p.count > 0 {
		ld := usage.EncodeLogs(p.events)
		usage.EncodeRefusals(p.refusals, ld)
		err := r.next.ConsumeLogs(ctx, ld)
		if rejections, ok := usage.Rejected(err); ok {
			err = p.refused(rejections)
		}
		if err != nil {
			r.failed(ctx, w, err, p.count)
			return
		}
	}
	a := answer{Accepted: p.count - len(p.rejected), Rejected: p.rejected}
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

// failed answers when nothing may be assumed of any event.
func (r *usageReceiver) failed(ctx context.Context, w http.ResponseWriter, err error, events int) {
	r.telemetry.UsageboxReceiverFailed.Add(ctx, int64(events))
	r.settings.Logger.Warn("events were not taken, the sender was told", zap.Int("events", events), zap.Error(err))
	if consumererror.IsPermanent(err) || errors.Is(err, errUnmatched) {
		fail(w, http.StatusInternalServerError, "the pipeline did not take all of the events, and sending them again would not help: "+err.Error())
		return
	}
	again(w, http.StatusServiceUnavailable, "the events could not be made durable ("+err.Error()+")")
}
