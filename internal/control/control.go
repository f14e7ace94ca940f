// Package control lets commands ask and tell a part of a running collector, over HTTP on a socket in the state of its ledger's writer.
package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const (
	pointer       = ".socket" // a file with the socket's path
	maxSocketPath = 100       // what systems take is little more
	headerWait    = 10 * time.Second
)

// Server answers for a part of the collector.
type Server struct {
	http   *http.Server
	folder string // made for the socket, "" when it is in the state
	file   string
	served chan struct{}
}

// Listen answers for the part of this name, such as feed, on a socket in a writer's state, which only this user may open.
func Listen(state, name string, handler http.Handler) (*Server, error) {
	s := &Server{file: filepath.Join(state, name+pointer), served: make(chan struct{})}
	path, err := filepath.Abs(filepath.Join(state, name+".sock"))
	if err != nil {
		return nil, err
	}
	if len(path) > maxSocketPath {
		if s.folder, err = os.MkdirTemp("", "usagebox-"); err != nil {
			return nil, err
		}
		path = filepath.Join(s.folder, name+".sock")
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
	s.http = &http.Server{Handler: handler, ReadHeaderTimeout: headerWait}
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

// item is a line of an answer: a value, or the error that ended it.
type item struct {
	Value any    `json:"value,omitempty"`
	Error string `json:"error,omitempty"`
}

// ErrEnough ends an answer that has all that was asked for.
var ErrEnough = errors.New("enough")

// Handle answers a request with the values that do gives, in lines of JSON.
func Handle(mux *http.ServeMux, pattern string, do func(r *http.Request, each func(any) error) error) {
	mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		out := json.NewEncoder(w)
		if err := do(r, func(v any) error { return out.Encode(item{Value: v}) }); err != nil && !errors.Is(err, ErrEnough) {
			_ = out.Encode(item{Error: err.Error()}) // whoever asked is gone
			return
		}
		_ = out.Encode(item{})
	})
}

// ErrNobody is that no process answers for a part.
var ErrNobody = errors.New("nobody answers")

// Client asks a part of a collector that another process runs.
type Client struct{ http *http.Client }

// Dial finds the part of this name. The error is ErrNobody when no process answers for it.
func Dial(state, name string) (*Client, error) {
	path, err := os.ReadFile(filepath.Join(state, name+pointer))
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

// Ask sends a request and reads its answer, value after value.
func Ask[T any](ctx context.Context, c *Client, method, path string, body io.Reader, each func(*T) error) error {
	request, err := http.NewRequestWithContext(ctx, method, "http://collector"+path, body)
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
