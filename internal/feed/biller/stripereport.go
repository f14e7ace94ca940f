package biller

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

const (
	reportTolerance = 5 * time.Minute // between Stripe's clock and ours
	maxReport       = 1 << 20
)

// StripeReports takes Stripe's reports of meter events that it found wrong after it had taken them.
type StripeReports struct {
	Stripe *Stripe // to fetch reports that come without their data
	Secret string  // of the endpoint's signatures
	// Rejected is told a name of the report's part, the same whenever it comes, and the ids of records and what is wrong with each. After an error Stripe is asked to send the
	// report again.
	Rejected func(report, reason string, ids map[string]string) error
	// Unnamed is told how many events a report is about beyond those that it names.
	Unnamed func(n int)
}

// report is the data of v1.billing.meter.error_report_triggered and v1.billing.meter.no_meter_found.
type report struct {
	Reason struct {
		Count int `json:"error_count"`
		Types []struct {
			Code    string `json:"code"`
			Count   int    `json:"error_count"`
			Samples []struct {
				Message string `json:"error_message"`
				Request struct {
					Identifier string `json:"identifier"`
				} `json:"request"`
			} `json:"sample_errors"`
		} `json:"error_types"`
	} `json:"reason"`
}

// ServeHTTP takes one report.
func (h *StripeReports) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		http.Error(w, "reports are posted", http.StatusMethodNotAllowed)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxReport))
	if err != nil {
		http.Error(w, "the report can't be read: "+err.Error(), http.StatusBadRequest)
		return
	}
	if err := VerifyStripe(h.Secret, r.Header.Get("Stripe-Signature"), body, h.Stripe.Clock()); err != nil {
		http.Error(w, err.Error(), http.StatusUnauthorized)
		return
	}
	if err := h.take(r.Context(), body); err != nil {
		http.Error(w, "the report was not taken, send it again", http.StatusServiceUnavailable)
		return
	}
	w.WriteHeader(http.StatusOK)
}

func (h *StripeReports) take(ctx context.Context, body []byte) error {
	var event struct {
		ID   string          `json:"id"`
		Type string          `json:"type"`
		Data json.RawMessage `json:"data"`
	}
	if err := json.Unmarshal(body, &event); err != nil {
		return err
	}
	switch event.Type {
	case "v1.billing.meter.error_report_triggered", "v1.billing.meter.no_meter_found":
	default:
		return nil // an event that the endpoint was not asked for
	}
	if len(event.Data) == 0 {
		if err := h.Stripe.get(ctx, "/v2/core/events/"+url.PathEscape(event.ID), &event); err != nil {
			return err
		}
	}
	var data report
	if err := json.Unmarshal(event.Data, &data); err != nil {
		return err
	}
	named := 0
	for i, t := range data.Reason.Types {
		ids := map[string]string{}
		for _, s := range t.Samples {
			if s.Request.Identifier != "" {
				ids[s.Request.Identifier] = s.Message
			}
		}
		named += len(ids)
		if len(ids) > 0 {
			if err := h.Rejected(event.ID+"/"+strconv.Itoa(i), t.Code, ids); err != nil {
				return err
			}
		}
	}
	if n := data.Reason.Count - named; n > 0 {
		h.Unnamed(n)
	}
	return nil
}

// VerifyStripe checks a Stripe-Signature: t=SECONDS,v1=HEX, of which any may fit.
func VerifyStripe(secret, header string, body []byte, now time.Time) error {
	var at string
	var signatures []string
	for part := range strings.SplitSeq(header, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		switch name {
		case "t":
			at = value
		case "v1":
			signatures = append(signatures, value)
		}
	}
	seconds, err := strconv.ParseInt(at, 10, 64)
	if err != nil {
		return errors.New("the report has no signature of Stripe: it was not taken")
	}
	if age := now.Sub(time.Unix(seconds, 0)); age > reportTolerance || age < -reportTolerance {
		return fmt.Errorf("the report's signature is %s old, at most %s is taken", age.Round(time.Second), reportTolerance)
	}
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write(fmt.Appendf(nil, "%d.", seconds))
	mac.Write(body)
	want := mac.Sum(nil)
	for _, s := range signatures {
		if got, err := hex.DecodeString(s); err == nil && hmac.Equal(got, want) {
			return nil
		}
	}
	return errors.New("the report's signature is not Stripe's, or of another secret: it was not taken")
}
