// Package control lets commands put corrections into the ledger of a running collector, through a socket in the state of its writer.
package control

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/usagebox/otelcol-usagebox/internal/control"
	"github.com/usagebox/otelcol-usagebox/internal/ledger"
	"github.com/usagebox/otelcol-usagebox/usage"
)

// name is the socket's.
const name = "ledger"

// maxBody bounds what one request may bring.
const maxBody = 256 << 20

// Ledger is what can be told: a *ledger.Ledger.
type Ledger interface {
	Flush(ctx context.Context) error
	Amend(ctx context.Context, list []ledger.Amendment) (ledger.Result, error)
}

// Server answers for a ledger.
type Server = control.Server

// Listen answers for l on a socket in a writer's state, which only this user may open.
func Listen(state string, l Ledger) (*Server, error) {
	return control.Listen(state, name, handler(l))
}

func handler(l Ledger) http.Handler {
	mux := http.NewServeMux()
	control.Handle(mux, "POST /flush", func(r *http.Request, _ func(any) error) error { return l.Flush(r.Context()) })
	control.Handle(mux, "POST /amend", func(r *http.Request, each func(any) error) error {
		body, err := io.ReadAll(io.LimitReader(r.Body, maxBody+1))
		if err != nil {
			return fmt.Errorf("nothing was taken: %w", err)
		}
		if len(body) > maxBody {
			return fmt.Errorf("nothing was taken: more than %d bytes at once", maxBody)
		}
		list, err := decode(body)
		if err != nil {
			return fmt.Errorf("nothing was taken: %w", err)
		}
		result, err := l.Amend(r.Context(), list)
		if err != nil {
			return err
		}
		return each(result)
	})
	return mux
}

// Amendments go as their number and, for each, the event and an event with the lines that were seen, in the binary form of events.

func encode(list []ledger.Amendment) []byte {
	b := binary.AppendUvarint(nil, uint64(len(list)))
	for i := range list {
		b = list[i].Event.AppendBinary(b)
		b = (&usage.Event{Lines: list[i].Seen}).AppendBinary(b)
	}
	return b
}

func decode(b []byte) ([]ledger.Amendment, error) {
	count, n := binary.Uvarint(b)
	if n <= 0 {
		return nil, errors.New("the request has no count")
	}
	b = b[n:]
	var list []ledger.Amendment
	for range count {
		var a ledger.Amendment
		var seen usage.Event
		var err error
		if b, err = usage.DecodeBinary(b, &a.Event); err != nil {
			return nil, err
		}
		if b, err = usage.DecodeBinary(b, &seen); err != nil {
			return nil, err
		}
		a.Seen = seen.Lines
		list = append(list, a)
	}
	if len(b) > 0 {
		return nil, errors.New("the request is longer than it says")
	}
	return list, nil
}

// Client tells a ledger that another process has.
type Client struct{ client *control.Client }

// Dial finds the ledger of a writer's state. The error is control.ErrNobody when no process answers for it.
func Dial(state string) (*Client, error) {
	c, err := control.Dial(state, name)
	if err != nil {
		return nil, err
	}
	return &Client{c}, nil
}

// Close ends what the client holds.
func (c *Client) Close() error {
	c.client.Close()
	return nil
}

// Flush is ledger.Ledger's.
func (c *Client) Flush(ctx context.Context) error {
	return control.Ask(ctx, c.client, http.MethodPost, "/flush", nil, func(*any) error { return nil })
}

// Amend is ledger.Ledger's.
func (c *Client) Amend(ctx context.Context, list []ledger.Amendment) (result ledger.Result, err error) {
	err = control.Ask(ctx, c.client, http.MethodPost, "/amend", strings.NewReader(string(encode(list))), func(r *ledger.Result) error { result = *r; return nil })
	return result, err
}
