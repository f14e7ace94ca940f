package ledger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// chainless is a file system that can't exchange folders, and on which the chain can't be written at times.
type chainless struct {
	FS
	fails bool
}

var errChainless = errors.New("the chain can't be written")

func (*chainless) Exchange(string, string) error { return ErrExchangeUnsupported }

func (f *chainless) OpenReadWrite(name string, c vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	if f.fails && strings.HasSuffix(name, "chain.ndjson") {
		return nil, errChainless
	}
	return f.FS.OpenReadWrite(name, c, opts...)
}

func TestRecordsOfTheChainThatACrashToreAreWrittenAgain(t *testing.T) {
	fs := &chainless{FS: OS}
	h := newHarness(t, func(o *Options) { o.FS = fs })
	// Where folders can't be exchanged a seal makes a record of each part.
	parts := func(n int) error {
		for range n {
			h.clock.now = h.clock.now.Add(time.Second)
			h.accept(event("acme", h.clock.now.String(), 10, h.clock.now))
			h.flush()
		}
		h.clock.now = h.clock.now.Add(2 * time.Hour)
		return h.Seal(context.Background())
	}
	if err := parts(1); err != nil {
		t.Fatal(err)
	}
	fs.fails = true
	if err := parts(3); !errors.Is(err, errChainless) {
		t.Fatal(err)
	}
	file := h.paths.chain()
	first, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	size := h.state.chain.Size
	if err := h.Close(); !errors.Is(err, errChainless) {
		t.Fatal(err)
	}
	// The power was cut while three records were written: the file has its new size, and of its new content the end alone.
	torn := append(append(first, make([]byte, int(size)-len(first)-1)...), '\n')
	if err := os.WriteFile(file, torn, 0o600); err != nil {
		t.Fatal(err)
	}
	fs.fails = false
	h.open()
	h.flush()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	head, err := ReadChain(text, func(*ChainRecord) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	st, err := h.StatusNow()
	if err != nil {
		t.Fatal(err)
	}
	if n := bytes.Count(text, []byte("\n")); n != 4 || head != st.Chain.Head {
		t.Errorf("the file has %d records and ends with %s, the store's chain with %s", n, head, st.Chain.Head)
	}
}

func TestAChainFileThatWasChangedIsNamedAtTheStartAndLeftAsItIs(t *testing.T) {
	core, logs := observer.New(zap.ErrorLevel)
	h := newHarness(t, func(o *Options) { o.Logger = zap.New(core) })
	for range 3 {
		h.accept(event("acme", h.clock.now.String(), 10, h.clock.now))
		h.sealAll()
	}
	h.restart()
	if got := logs.TakeAll(); len(got) > 0 {
		t.Fatalf("a sound chain: %v", got)
	}
	file := h.paths.chain()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, changed := range [][]byte{bytes.Replace(text, []byte(`"v":1`), []byte(`"v":3`), 1), bytes.Replace(text, []byte(`"writer":"main"`), []byte(`"writer":"mine"`), 1), text[:len(text)/3]} {
		if err := os.WriteFile(file, changed, 0o600); err != nil {
			t.Fatal(err)
		}
		h.restart()
		if got := logs.TakeAll(); len(got) != 1 || !strings.Contains(fmt.Sprint(got[0].ContextMap()["error"]), file) {
			t.Errorf("%q: %v", changed, got)
		}
		if left, err := os.ReadFile(file); err != nil || !bytes.HasPrefix(left, changed) {
			t.Errorf("%q became %q, %v", changed, left, err)
		}
	}
}
