// Package control lets commands ask and tell a billing feed that another process runs, through a socket in the state of its ledger's writer.
package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strconv"

	"github.com/usagebox/otelcol-usagebox/internal/control"
	"github.com/usagebox/otelcol-usagebox/internal/feed"
	"github.com/usagebox/otelcol-usagebox/usage"
)

// Feed is what can be asked and told: a *feed.Feed.
type Feed interface {
	StatusNow(whole bool) ([]feed.Status, error)
	Letters(sel feed.Selection, each func(*feed.Letter) error) error
	Retry(sel feed.Selection, delivered bool) (int, error)
	Reconcile(ctx context.Context, q feed.Reconciliation, each func(*feed.Comparison) error) error
	Preview(receiver string, each func(*feed.Record) error) error
	Replay(receiver string, from usage.Hour) error
}

// name is the socket's.
const name = "feed"

// Server answers for a feed.
type Server = control.Server

// Listen answers for f on a socket in a writer's state, which only this user may open.
func Listen(state string, f Feed) (*Server, error) {
	return control.Listen(state, name, handler(f))
}

// retry is what is told to retry.
type retry struct {
	feed.Selection
	Delivered bool `json:"as_delivered"`
}

// replay is what is told to replay.
type replay struct {
	Receiver string     `json:"receiver"`
	From     usage.Hour `json:"from"`
}

func handler(f Feed) http.Handler {
	mux := http.NewServeMux()
	handle := func(pattern string, do func(r *http.Request, each func(any) error) error) {
		control.Handle(mux, pattern, do)
	}
	handle("GET /status", func(r *http.Request, each func(any) error) error {
		all, err := f.StatusNow(r.URL.Query().Get("whole") != "")
		if err != nil {
			return err
		}
		return each(all)
	})
	handle("POST /letters", func(r *http.Request, each func(any) error) error {
		var sel feed.Selection
		if err := json.NewDecoder(r.Body).Decode(&sel); err != nil {
			return err
		}
		return f.Letters(sel, func(l *feed.Letter) error { return each(l) })
	})
	handle("POST /retry", func(r *http.Request, each func(any) error) error {
		var q retry
		if err := json.NewDecoder(r.Body).Decode(&q); err != nil {
			return err
		}
		n, err := f.Retry(q.Selection, q.Delivered)
		if err != nil {
			return err
		}
		return each(n)
	})
	handle("POST /reconcile", func(r *http.Request, each func(any) error) error {
		var q feed.Reconciliation
		if err := json.NewDecoder(r.Body).Decode(&q); err != nil {
			return err
		}
		return f.Reconcile(r.Context(), q, func(c *feed.Comparison) error { return each(c) })
	})
	handle("GET /preview", func(r *http.Request, each func(any) error) error {
		limit, _ := strconv.Atoi(r.URL.Query().Get("limit"))
		n := 0
		return f.Preview(r.URL.Query().Get("receiver"), func(record *feed.Record) error {
			if n++; limit > 0 && n > limit {
				return control.ErrEnough
			}
			return each(record)
		})
	})
	handle("POST /replay", func(r *http.Request, each func(any) error) error {
		var q replay
		if err := json.NewDecoder(r.Body).Decode(&q); err != nil {
			return err
		}
		return f.Replay(q.Receiver, q.From)
	})
	return mux
}

// ErrNobody is that no process answers for the feed.
var ErrNobody = errors.New("no collector with a billing feed runs on this directory")

// Client asks a feed that another process runs.
type Client struct{ *control.Client }

// Dial finds the feed of a writer's state. The error is ErrNobody when no process answers for it.
func Dial(state string) (*Client, error) {
	c, err := control.Dial(state, name)
	if errors.Is(err, control.ErrNobody) {
		return nil, ErrNobody
	}
	return &Client{c}, err
}

// Close ends what the client holds.
func (c *Client) Close() error {
	c.Client.Close()
	return nil
}

// ask sends a request and reads its answer, value after value.
func ask[T any](ctx context.Context, c *Client, method, path string, body any, each func(*T) error) error {
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	return control.Ask(ctx, c.Client, method, path, bytes.NewReader(text), each)
}

// StatusNow is feed.Feed's.
func (c *Client) StatusNow(whole bool) (all []feed.Status, err error) {
	path := "/status"
	if whole {
		path += "?whole=1"
	}
	err = ask(context.Background(), c, http.MethodGet, path, nil, func(s *[]feed.Status) error { all = *s; return nil })
	return all, err
}

// Letters is feed.Feed's.
func (c *Client) Letters(sel feed.Selection, each func(*feed.Letter) error) error {
	return ask(context.Background(), c, http.MethodPost, "/letters", sel, each)
}

// Retry is feed.Feed's.
func (c *Client) Retry(sel feed.Selection, delivered bool) (n int, err error) {
	err = ask(context.Background(), c, http.MethodPost, "/retry", retry{sel, delivered}, func(m *int) error { n = *m; return nil })
	return n, err
}

// Reconcile is feed.Feed's.
func (c *Client) Reconcile(ctx context.Context, q feed.Reconciliation, each func(*feed.Comparison) error) error {
	return ask(ctx, c, http.MethodPost, "/reconcile", q, each)
}

// Preview is feed.Feed's, of at most limit records; 0 is all.
func (c *Client) Preview(receiver string, limit int, each func(*feed.Record) error) error {
	query := url.Values{"receiver": {receiver}, "limit": {strconv.Itoa(limit)}}
	return ask(context.Background(), c, http.MethodGet, "/preview?"+query.Encode(), nil, each)
}

// Replay is feed.Feed's.
func (c *Client) Replay(receiver string, from usage.Hour) error {
	return ask(context.Background(), c, http.MethodPost, "/replay", replay{receiver, from}, func(*any) error { return nil })
}
