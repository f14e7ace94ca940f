package biller

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/usagebox/otelcol-usagebox/internal/feed"
)

// EventType is the type of the CloudEvents that the webhook sends.
const EventType = "usagebox.usage_record.v1"

// Webhook sends CloudEvents in structured mode, signed as Standard Webhooks says.
type Webhook struct {
	Client
	Key    []byte // of the signature; nil: none is made
	Batch  int
	Window time.Duration // how long the receiver remembers an id; 0: for ever
}

// cloudEvent is CloudEvents 1.0 in JSON.
type cloudEvent struct {
	SpecVersion     string `json:"specversion"`
	ID              string `json:"id"`
	Source          string `json:"source"`
	Type            string `json:"type"`
	Subject         string `json:"subject"`
	Time            string `json:"time"`
	DataContentType string `json:"datacontenttype"`
	Data            any    `json:"data"`
}

func newCloudEvent(r *feed.Record, kind string, data any) cloudEvent {
	return cloudEvent{
		SpecVersion: "1.0", ID: r.ID, Source: "/usagebox/" + r.Writer, Type: kind, Subject: r.ExternalCustomer,
		Time: r.Timestamp, DataContentType: "application/json", Data: data,
	}
}

// SecretKey is the key in a secret of Standard Webhooks: whsec_ and base64.
func SecretKey(secret string) ([]byte, error) {
	encoded, ok := strings.CutPrefix(secret, "whsec_")
	key, err := base64.StdEncoding.DecodeString(encoded)
	if !ok || err != nil || len(key) < 24 || len(key) > 64 {
		return nil, fmt.Errorf("it takes whsec_ and the base64 of 24 to 64 random bytes, such as `echo whsec_$(openssl rand -base64 32)` prints")
	}
	return key, nil
}

// Sign is the header webhook-signature of a message.
func Sign(key []byte, id string, at time.Time, body []byte) string {
	mac := hmac.New(sha256.New, key)
	mac.Write(fmt.Appendf(nil, "%s.%d.", id, at.Unix()))
	mac.Write(body)
	return "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// Limits of a webhook.
func (w *Webhook) Limits() feed.Limits { return feed.Limits{Batch: max(1, w.Batch), Window: w.Window} }

// Check finds nothing: the receiver is the user's own.
func (w *Webhook) Check(*feed.Record, time.Time) (reason, detail string) { return "", "" }

// Send posts one event, or, when Batch is more than one, an array of them.
func (w *Webhook) Send(ctx context.Context, records []*feed.Record) []feed.Outcome {
	events := make([]cloudEvent, len(records))
	for i, r := range records {
		events[i] = newCloudEvent(r, EventType, r)
	}
	var content any = events
	header := http.Header{"Content-Type": {"application/cloudevents-batch+json"}}
	id := batchID(records)
	if w.Batch <= 1 {
		content, id = events[0], records[0].ID
		header.Set("Content-Type", "application/cloudevents+json")
	}
	body, err := json.Marshal(content)
	if err != nil {
		return feed.Fates(len(records), feed.Outcome{Fate: feed.Refused, Reason: "unencodable", Err: err})
	}
	now := w.Clock()
	header.Set("Webhook-Id", id)
	header.Set("Webhook-Timestamp", strconv.FormatInt(now.Unix(), 10))
	if w.Key != nil {
		header.Set("Webhook-Signature", Sign(w.Key, id, now, body))
	}
	a, err := w.do(ctx, http.MethodPost, "", header, body)
	if err != nil {
		return w.lost(len(records), err)
	}
	return w.judged(len(records), a)
}

// batchID is the same for the same records.
func batchID(records []*feed.Record) string {
	h := sha256.New()
	for _, r := range records {
		h.Write([]byte(r.ID))
	}
	return "ubxb_" + hex.EncodeToString(h.Sum(nil)[:16])
}
