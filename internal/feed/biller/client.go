// Package biller speaks the protocols of billers: each receiver of the billing feed makes calls with records and says what became of each.
package biller

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/usagebox/otelcol-usagebox/internal/feed"
)

const (
	maxAnswer  = 1 << 20 // bytes of an answer that are read
	maxExcerpt = 300     // of an answer, in an error

	redacted = "[REDACTED]"

	// goneWait is how long an endpoint that answers 410 is left alone: by Standard Webhooks it wants no calls any more.
	goneWait = time.Hour
)

// Client is how a biller is reached. The HTTP client comes from the configuration and must not follow redirections: a POST that becomes a GET is answered, and
// brings nothing.
type Client struct {
	HTTP     *http.Client
	Endpoint string   // without a slash at its end
	Secrets  []string // that must not appear in an error
	Clock    func() time.Time
}

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// do makes a request. The error is about the way there and back, without an answer.
func (c *Client) do(ctx context.Context, method, path string, header http.Header, body []byte) (answer, error) {
	target := c.Endpoint + path
	if strings.HasPrefix(path, "http") {
		target = path
	}
	request, err := http.NewRequestWithContext(ctx, method, target, bytes.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	for name, values := range header {
		request.Header[name] = values
	}
	response, err := c.HTTP.Do(request)
	if err != nil {
		return answer{}, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return answer{}, err
	}
	return answer{response.StatusCode, response.Header, text}, nil
}

// lost is what became of records when no answer came.
func (c *Client) lost(n int, err error) []feed.Outcome {
	o := feed.Outcome{Fate: feed.Unknown, All: true, Err: errors.New(c.redact("no answer: " + plain(err).Error()))}
	if unsent(err) {
		o.Fate = feed.NotTaken
	}
	return feed.Fates(n, o)
}

// plain leaves out the address of the request, which may hold what nobody should read.
func plain(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

// unsent says that a request surely did not come to its receiver.
func unsent(err error) bool {
	var op *net.OpError
	var dns *net.DNSError
	var certificate *tls.CertificateVerificationError
	var authority x509.UnknownAuthorityError
	return errors.As(err, &op) && op.Op == "dial" || errors.As(err, &dns) || errors.As(err, &certificate) || errors.As(err, &authority)
}

// judged is what an answer says of all records of a call, when it says nothing of each.
func (c *Client) judged(n int, a answer) []feed.Outcome {
	o := feed.Outcome{Err: c.refusal(a)}
	switch {
	case a.status >= 200 && a.status < 300:
		return feed.Fates(n, feed.Outcome{Fate: feed.Delivered})
	case a.status == http.StatusUnauthorized, a.status == http.StatusForbidden, a.status == http.StatusPaymentRequired,
		a.status == http.StatusNotFound, a.status == http.StatusMethodNotAllowed,
		a.status >= 300 && a.status < 400:
		o.Fate, o.All = feed.NotTaken, true // the address or the key is wrong, not a record
	case a.status == http.StatusGone:
		o.Fate, o.All, o.Wait = feed.NotTaken, true, max(goneWait, c.retryAfter(a))
	case a.status == http.StatusTooManyRequests:
		o.Fate, o.All, o.Wait = feed.NotTaken, true, c.retryAfter(a)
	case a.status == http.StatusConflict, a.status == http.StatusTooEarly, a.status == http.StatusLocked:
		o.Fate = feed.NotTaken
	case a.status >= 500 || a.status == http.StatusRequestTimeout:
		o.Fate, o.All, o.Wait = feed.Unknown, true, c.retryAfter(a)
	case n > 1:
		o.Fate, o.Alone = feed.NotTaken, true
	default:
		o.Fate, o.Reason = feed.Refused, "http_"+strconv.Itoa(a.status)
	}
	return feed.Fates(n, o)
}

// refusal is an answer as an error.
func (c *Client) refusal(a answer) error {
	return fmt.Errorf("answer %d: %s", a.status, c.excerpt(a.body))
}

// excerpt is the beginning of an answer, without secrets.
func (c *Client) excerpt(text []byte) string {
	s := c.redact(strings.ToValidUTF8(string(text), "?")) // before it is cut: half a secret is one, too
	if len(s) > maxExcerpt {
		s = strings.ToValidUTF8(s[:maxExcerpt], "") + "…"
	}
	return s
}

func (c *Client) redact(text string) string {
	for _, secret := range c.Secrets {
		if secret != "" {
			text = strings.ReplaceAll(text, secret, redacted)
		}
	}
	return text
}

// retryAfter is what an answer asks to wait: seconds or a date.
func (c *Client) retryAfter(a answer) time.Duration {
	text := a.header.Get("Retry-After")
	if seconds, err := strconv.ParseInt(text, 10, 32); err == nil {
		return max(0, time.Duration(seconds)*time.Second)
	}
	if at, err := http.ParseTime(text); err == nil {
		return max(0, at.Sub(c.Clock()))
	}
	return 0
}

// properties are a record's value and dimensions under the names that billers' events give them.
func properties(r *feed.Record, valueKey string) map[string]string {
	all := make(map[string]string, len(r.Dimensions)+1)
	for name, value := range r.Dimensions {
		all[name] = value
	}
	all[valueKey] = r.Value
	return all
}

func bearer(key string) string { return "Bearer " + key }

func jsonHeader() http.Header { return http.Header{"Content-Type": {"application/json"}} }

// tooOld says whether a record is older than a biller takes.
func window(r *feed.Record, now time.Time, past, future time.Duration) (reason, detail string) {
	switch at := r.Time(); {
	case past > 0 && now.Sub(at) > past:
		return "timestamp_too_far_in_past", fmt.Sprintf("its time %s is more than %s ago", r.Timestamp, past)
	case future > 0 && at.Sub(now) > future:
		return "timestamp_in_future", fmt.Sprintf("its time %s is more than %s ahead", r.Timestamp, future)
	}
	return "", ""
}

// tooLong says whether a text is longer than a biller takes.
func tooLong(what, text string, most int) (reason, detail string) {
	if len(text) > most {
		return what + "_too_long", fmt.Sprintf("its %s has %d characters, the receiver takes %d", what, len(text), most)
	}
	return "", ""
}
