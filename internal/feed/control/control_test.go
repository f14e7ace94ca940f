package control

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/usagebox/otelcol-usagebox/internal/feed"
	"github.com/usagebox/otelcol-usagebox/usage"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fake answers as it is told.
type fake struct {
	err     error
	replied feed.Selection
}

func (f *fake) StatusNow(whole bool) ([]feed.Status, error) {
	return []feed.Status{{Receiver: "file", Carried: map[bool]int{true: 1}[whole]}}, f.err
}

func (f *fake) Letters(_ feed.Selection, each func(*feed.Letter) error) error {
	for _, id := range []string{"a", "b"} {
		if err := each(&feed.Letter{Record: feed.Record{ID: id}}); err != nil {
			return err
		}
	}
	return f.err
}

func (f *fake) Retry(sel feed.Selection, delivered bool) (int, error) {
	f.replied = sel
	return map[bool]int{true: 7, false: 3}[delivered], f.err
}

func (f *fake) Reconcile(_ context.Context, q feed.Reconciliation, each func(*feed.Comparison) error) error {
	return each(&feed.Comparison{Customer: q.Receiver})
}

func (f *fake) Preview(receiver string, each func(*feed.Record) error) error {
	for range 5 {
		if err := each(&feed.Record{Customer: receiver}); err != nil {
			return err
		}
	}
	return nil
}

func (f *fake) Replay(string, usage.Hour) error { return f.err }

func TestAClientGetsWhatTheFeedAnswers(t *testing.T) {
	for _, state := range []string{t.TempDir(), filepath.Join(t.TempDir(), strings.Repeat("long/", 30))} {
		if err := os.MkdirAll(state, 0o755); err != nil {
			t.Fatal(err)
		}
		if _, err := Dial(state); !errors.Is(err, ErrNobody) {
			t.Fatal(err)
		}
		f := &fake{}
		s, err := Listen(state, f)
		if err != nil {
			t.Fatal(err)
		}
		c, err := Dial(state)
		if err != nil {
			t.Fatal(err)
		}
		if all, err := c.StatusNow(true); err != nil || len(all) != 1 || all[0].Carried != 1 {
			t.Fatal(all, err)
		}
		if n, err := c.Retry(feed.Selection{Receiver: "webhook/a b", ID: "x"}, true); err != nil || n != 7 || f.replied.Receiver != "webhook/a b" {
			t.Fatal(n, err, f.replied)
		}
		n := 0
		if err := c.Preview("a/b c", 3, func(r *feed.Record) error {
			if n++; r.Customer != "a/b c" {
				t.Fatal(r.Customer)
			}
			return nil
		}); err != nil || n != 3 {
			t.Fatal(n, err)
		}
		if err := c.Reconcile(context.Background(), feed.Reconciliation{Receiver: "r"}, func(d *feed.Comparison) error {
			if d.Customer != "r" {
				t.Fatal(d)
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		f.err = errors.New("the store is broken")
		n = 0
		if err := c.Letters(feed.Selection{}, func(*feed.Letter) error { n++; return nil }); err == nil || err.Error() != f.err.Error() || n != 2 {
			t.Fatal(n, err)
		}
		if err := c.Replay("r", 1); err == nil || err.Error() != f.err.Error() {
			t.Fatal(err)
		}
		_ = c.Close()
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := Dial(state); !errors.Is(err, ErrNobody) {
			t.Fatal(err)
		}
	}
}

func TestASocketThatAKilledProcessLeftIsNobodys(t *testing.T) {
	state := t.TempDir()
	s, err := Listen(state, &fake{})
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(state, "feed.socket"))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(state, "feed.socket"), text, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(state, "feed.sock"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Dial(state); !errors.Is(err, ErrNobody) {
		t.Fatal(err)
	}
	if s, err = Listen(state, &fake{}); err != nil {
		t.Fatal(err)
	}
	c, err := Dial(state)
	if err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}
