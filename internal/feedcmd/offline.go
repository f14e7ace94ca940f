package feedcmd

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/usagebox/otelcol-usagebox/internal/feed"
	"github.com/usagebox/otelcol-usagebox/internal/ledger"
	"github.com/usagebox/otelcol-usagebox/usage"
)

// source answers for a feed: that of a running collector, or the books of one that doesn't run.
type source interface {
	StatusNow(whole bool) ([]feed.Status, error)
	Letters(sel feed.Selection, each func(*feed.Letter) error) error
	Retry(sel feed.Selection, delivered bool) (int, error)
	Reconcile(ctx context.Context, q feed.Reconciliation, each func(*feed.Comparison) error) error
	Preview(receiver string, limit int, each func(*feed.Record) error) error
	Replay(receiver string, from usage.Hour) error
	Close() error
}

// offline answers from the books. It has the directory to itself until it is closed.
type offline struct {
	*feed.Feed
	ledger *ledger.Ledger
}

// openOffline opens the books of a writer of a ledger that no collector runs on. The error is a *dirlock.HeldError when one does.
func openOffline(directory, writer string) (*offline, error) {
	l, err := ledger.Open(ledger.Options{Directory: directory, WriterID: writer, Manual: true, Borrowed: true})
	if err != nil {
		return nil, err
	}
	f, err := feed.OpenRecorded(l, directory, writer)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", directory, err), l.Leave())
	}
	return &offline{f, l}, nil
}

func (o *offline) Close() error { return errors.Join(o.Feed.Close(), o.ledger.Leave()) }

// Preview ends after limit records; 0 is no limit.
func (o *offline) Preview(receiver string, limit int, each func(*feed.Record) error) error {
	n := 0
	return o.Feed.Preview(receiver, func(r *feed.Record) error {
		if n++; limit > 0 && n > limit {
			return ledger.ErrStop
		}
		return each(r)
	})
}

func writerOf(state string) string { return filepath.Base(state)[len("writer="):] }
