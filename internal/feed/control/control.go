// Package control lets commands ask and tell a billing feed that another process runs, through a socket in the state of its ledger's writer.
package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/usagebox/otelcol-usagebox/internal/feed"
	"github.com/usagebox/otelcol-usagebox/internal/ledger"
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

const (
	pointer       = "feed.socket" // a file with the socket's path
	maxSocketPath = 100           // what systems take is little more
	headerWait    = 10 * time.Second
)

// Server answers for a feed.
type Server struct {
	http   *http.Server
	folder string // made for the socket, "" when it is in the state
	file   string
	served chan struct{}
}

// Listen answers for f on a socket in a writer's state, which only this user may open.
func Listen(state string, f Feed) (*Server, error) {
	s := &Server{file: filepath.Join(state, pointer), served: make(chan struct{})}
	path, err := filepath.Abs(filepath.Join(state, "feed.sock"))
	if err != nil {
		return nil, err
	}
	if len(path) > maxSocketPath {
		if s.folder, err = os.MkdirTemp("", "usagebox-"); err != nil {
			return nil, err
		}
		path = filepath.Join(s.folder, "feed.sock")
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) { // left by a process that died: the state has one owner
		return nil, err
	}
	listener, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(os.Chmod(path, 0o600), os.WriteFile(s.file, []byte(path+"\n"), 0o600)); err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	s.http = &http.Server{Handler: handler(f), ReadHeaderTimeout: headerWait}
	go func() {
		defer close(s.served)
		_ = s.http.Serve(listener) // ends with Close
	}()
	return s, nil
}

// Close ends what is being answered.
func (s *Server) Close() error {
	err := s.http.Close()
	<-s.served
	err = errors.Join(err, os.Remove(s.file))
	if s.folder != "" {
		err = errors.Join(err, os.RemoveAll(s.folder))
	}
	return err
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

// item is a line of an answer: a value, or the error that ended it.
type item struct {
	Value any    `json:"value,omitempty"`
	Error string `json:"error,omitempty"`
}

func handler(f Feed) http.Handler {
	mux := http.NewServeMux()
	handle := func(pattern string, do func(r *http.Request, each func(any) error) error) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			out := json.NewEncoder(w)
			if err := do(r, func(v any) error { return out.Encode(item{Value: v}) }); err != nil && !errors.Is(err, ledger.ErrStop) {
				_ = out.Encode(item{Error: err.Error()}) // whoever asked is gone
				return
			}
			_ = out.Encode(item{})
		})
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
				return ledger.ErrStop
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
type Client struct{ http *http.Client }

// Dial finds the feed of a writer's state. The error is ErrNobody when no process answers for it.
func Dial(state string) (*Client, error) {
	path, err := os.ReadFile(filepath.Join(state, pointer))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNobody
	}
	if err != nil {
		return nil, err
	}
	socket := strings.TrimSpace(string(path))
	var dialer net.Dialer
	c := &Client{&http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return dialer.DialContext(ctx, "unix", socket)
	}}}}
	connection, err := dialer.DialContext(context.Background(), "unix", socket)
	if err != nil {
		return nil, ErrNobody // it was left by a process that died
	}
	return c, connection.Close()
}

// Close ends what the client holds.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// ask sends a request and reads its answer, value after value.
func ask[T any](ctx context.Context, c *Client, method, path string, body any, each func(*T) error) error {
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, method, "http://feed"+path, strings.NewReader(string(text)))
	if err != nil {
		return err
	}
	response, err := c.http.Do(request)
	if err != nil {
		return fmt.Errorf("ask the collector: %w", err)
	}
	defer response.Body.Close()
	in := json.NewDecoder(response.Body)
	for {
		var line struct {
			Value json.RawMessage `json:"value"`
			Error string          `json:"error"`
		}
		if err := in.Decode(&line); err != nil {
			return fmt.Errorf("the collector's answer was cut off: %w", err)
		}
		if line.Error != "" {
			return errors.New(line.Error)
		}
		if line.Value == nil {
			return nil
		}
		value := new(T)
		if err := json.Unmarshal(line.Value, value); err != nil {
			return err
		}
		if err := each(value); err != nil {
			return err
		}
	}
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
