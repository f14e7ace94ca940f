package ledger

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/usagebox/otelcol-usagebox/usage"
)

const (
	childDirectory = "USAGEBOX_TEST_LEDGER_CHILD" // set in a child: its ledger's directory
	childFirst     = "USAGEBOX_TEST_LEDGER_FIRST" // the first batch that it sends
	childBatches   = "USAGEBOX_TEST_LEDGER_BATCHES"
	childBatch     = 20
)

// runChild is a process that keeps usage until it is killed, and says on its output which batches were acknowledged. Parts are made all
// the time, and sealed all the time, for the usage is of hours long past.
func runChild() {
	first, _ := strconv.Atoi(os.Getenv(childFirst))
	batches, _ := strconv.Atoi(os.Getenv(childBatches))
	l, err := Open(childOptions(os.Getenv(childDirectory)))
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	for n := first; n < first+batches; {
		if _, err := l.Append(context.Background(), childEvents(n)); err != nil {
			fmt.Println("error", strings.ReplaceAll(err.Error(), "\n", " "))
			time.Sleep(20 * time.Millisecond) // as a sender does
			continue
		}
		fmt.Println("ack", n)
		n++
	}
	if err := l.Close(); err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	fmt.Println("end")
	os.Exit(0)
}

func childOptions(dir string) Options {
	return Options{Directory: dir, WriterID: "main", FlushInterval: 100 * time.Millisecond, CacheBytes: 8 << 20}
}

// childEvents is a batch: a function of its number alone, so that it can be sent again.
func childEvents(n int) []usage.Event {
	events := make([]usage.Event, childBatch)
	for i := range events {
		events[i] = event(fmt.Sprintf("customer-%d", i%3), fmt.Sprintf("%d-%d", n, i), int64(n+i), testTime.Add(time.Duration(n%4)*time.Hour))
	}
	return events
}

// child is a running process of runChild.
type child struct {
	cmd   *exec.Cmd
	lines *bufio.Scanner
	acked int // the next batch to send
	errs  []string
	ended bool
}

func startChild(t *testing.T, dir string, first, batches int, wrapper ...string) *child {
	t.Helper()
	args := append(wrapper, os.Args[0], "-test.run=^$")
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append(os.Environ(), childDirectory+"="+dir, childFirst+"="+strconv.Itoa(first), childBatches+"="+strconv.Itoa(batches))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return &child{cmd: cmd, lines: bufio.NewScanner(out), acked: first}
}

// read takes in one line; false means that there are no more.
func (c *child) read() bool {
	if !c.lines.Scan() {
		return false
	}
	switch word, rest, _ := strings.Cut(c.lines.Text(), " "); word {
	case "ack":
		n, _ := strconv.Atoi(rest)
		c.acked = n + 1
	case "error":
		c.errs = append(c.errs, rest)
	case "end":
		c.ended = true
	}
	return true
}

// readUntil reads until a batch is acknowledged.
func (c *child) readUntil(batch int) {
	for c.acked <= batch && c.read() {
	}
}

// drain reads the rest, after the child was killed.
func (c *child) drain() {
	for c.read() {
	}
	_ = c.cmd.Wait() // it was killed, or said what was wrong
}

// wantBatches opens the ledger that children left and compares it with what they acknowledged: batches below acked are there, each
// once; the one after may be.
func wantBatches(t *testing.T, dir string, acked int) {
	t.Helper()
	o := childOptions(dir)
	o.Manual = true
	l, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	if r, err := l.Append(context.Background(), childEvents(acked)); err != nil { // what was not answered is sent again
		t.Fatal(err)
	} else if r.Accepted+r.Duplicates != childBatch {
		t.Fatalf("%+v", r)
	}
	if err := errors.Join(l.Seal(context.Background()), l.Close()); err != nil {
		t.Fatal(err)
	}
	want := map[string]int64{}
	for n := range acked + 1 {
		for _, e := range childEvents(n) {
			want[e.Customer+"/llm_tokens_in"] += int64(e.Lines[0].Quantity)
		}
	}
	got := (reader{t, OS, dir}).rollups()
	for k, v := range want {
		if got[k] != usage.Quantity(v).String() {
			t.Errorf("%s: %s, want %s", k, got[k], usage.Quantity(v))
		}
	}
	ids := map[usage.Key]bool{}
	for _, path := range (reader{t, OS, dir}).files(treeEvents) {
		file, size := (reader{t, OS, dir}).open(path)
		events, err := readEvents(file, size)
		file.Close()
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		for i := range events {
			if ids[events[i].Key()] {
				t.Fatalf("event %v is there twice", events[i].Key())
			}
			ids[events[i].Key()] = true
		}
	}
	if len(ids) != (acked+1)*childBatch {
		t.Fatalf("%d events, want %d", len(ids), (acked+1)*childBatch)
	}
}
