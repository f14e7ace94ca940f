package ledger

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/usagebox/otelcol-usagebox/usage"
)

func TestKillingTheProcessLosesNothingAndDoublesNothing(t *testing.T) {
	kills := 15
	if *simSeeds >= simAll {
		kills = 100
	}
	dir := t.TempDir()
	rng := rand.New(rand.NewPCG(1, 1))
	acked := 0
	for range kills {
		c := startChild(t, dir, acked, 1<<30)
		c.readUntil(acked + rng.IntN(60))
		_ = c.cmd.Process.Kill()
		c.drain()
		acked = c.acked
		if len(c.errs) > 0 {
			t.Fatal(c.errs)
		}
	}
	wantBatches(t, dir, acked)
}

func TestAnErrorOfFsyncIsNeverTriedAgain(t *testing.T) {
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Skip("strace is not there:", err)
	}
	for _, call := range []string{"fsync", "fdatasync"} {
		for _, when := range []int{2, 9, 30, 77} {
			t.Run(fmt.Sprint(call, when), func(t *testing.T) {
				dir := t.TempDir()
				c := startChild(t, dir, 0, 60, strace, "-f", "-qq", "-o", "/dev/null", "-e", "trace="+call, "-e", fmt.Sprintf("inject=%s:error=EIO:when=%d", call, when))
				c.drain()
				if !c.ended && len(c.errs) == 0 {
					if c.acked == 0 {
						t.Skip("this user may not trace a process")
					}
					t.Fatal("the process died")
				}
				wantBatches(t, dir, c.acked)
			})
		}
	}
}

func TestAFullDiskTurnsAwayAndHealsByItself(t *testing.T) {
	dir := mountTemporary(t, "tmpfs", "tmpfs", "size=96m")
	o := childOptions(filepath.Join(dir, "usage"))
	o.Manual, o.MinFreeBytes = true, 24<<20
	l, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	n := 0
	send := func() error {
		_, err := l.Append(ctx, childEvents(n))
		if err == nil {
			n++
		}
		return err
	}
	for range 50 {
		if err := send(); err != nil {
			t.Fatal(err)
		}
	}

	// Little room: it says so, and what is there can be made parts of.
	fill(t, filepath.Join(dir, "ballast"), 20<<20)
	if err := send(); !errors.Is(err, ErrDiskFull) {
		t.Fatalf("got %v, want ErrDiskFull", err)
	}
	if err := l.Seal(ctx); err != nil {
		t.Fatal(err)
	}

	// No room at all, from one moment to the next.
	l.o.MinFreeBytes = 0
	fill(t, filepath.Join(dir, "rest"), 0)
	for failed := 0; failed < 3; {
		if err := send(); err != nil {
			failed++
		}
	}
	if err := os.Remove(filepath.Join(dir, "rest")); err != nil {
		t.Fatal(err)
	}
	for range 50 {
		if err := send(); err != nil {
			t.Fatalf("there is room again: %v", err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	wantBatches(t, o.Directory, n)
}

// fill writes a file until so much is free; 0 is nothing.
func fill(t *testing.T, path string, free uint64) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	block := make([]byte, 4096)
	for {
		var st unix.Statfs_t
		if err := unix.Statfs(filepath.Dir(path), &st); err != nil {
			t.Fatal(err)
		}
		if st.Bavail*uint64(st.Bsize) <= free {
			return
		}
		if _, err := f.Write(block); errors.Is(err, unix.ENOSPC) {
			return
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

func TestAPowerCutKeepsWhatWasAcknowledged(t *testing.T) {
	for _, kind := range []struct {
		name, force string
		size        int64 // the least that mkfs makes, or what is enough
	}{{"ext4", "-F", 256 << 20}, {"xfs", "-f", 320 << 20}} {
		t.Run(kind.name, func(t *testing.T) {
			image := filepath.Join(t.TempDir(), "disk.img")
			for _, tool := range []string{"mkfs." + kind.name, "mount", "umount"} {
				if _, err := exec.LookPath(tool); err != nil {
					t.Skip(tool+" is not there:", err)
				}
			}
			if err := os.WriteFile(image, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Truncate(image, kind.size); err != nil {
				t.Fatal(err)
			}
			if out, err := exec.Command("mkfs."+kind.name, "-q", kind.force, image).CombinedOutput(); err != nil {
				t.Skipf("mkfs.%s: %v: %s", kind.name, err, out)
			}
			cutAndCheck(t, image)
		})
	}
}

// cutAndCheck cuts the power of an image's file system while a ledger works on it, again and again, and compares what is there in the end.
func cutAndCheck(t *testing.T, image string) {
	rng := rand.New(rand.NewPCG(2, 2))
	// An fsync that the cut meets may say that all is well though it isn't: ext4 answers so to any program, now and then. So what counts is what was
	// acknowledged before; what was answered meanwhile is sent again.
	acked, answered := 0, 0
	for range 4 {
		t.Run("cut", func(t *testing.T) {
			dir := mountTemporary(t, "", image, "loop")
			c := startChild(t, filepath.Join(dir, "usage"), acked, 1<<30)
			c.readUntil(acked + 5 + rng.IntN(80))
			acked = c.acked
			if err := cutPower(dir); err != nil {
				_ = c.cmd.Process.Kill()
				c.drain()
				t.Skip("the file system can't be cut off:", err)
			}
			_ = c.cmd.Process.Kill()
			c.drain()
			answered = max(answered, c.acked)
		})
		if t.Failed() {
			return
		}
	}
	if acked == 0 {
		t.Skip("no loop device can be mounted here")
	}
	dir := mountTemporary(t, "", image, "loop")
	c := startChild(t, filepath.Join(dir, "usage"), acked, answered-acked)
	c.drain()
	if !c.ended {
		t.Fatalf("what was answered meanwhile is not taken again: %v", c.errs)
	}
	wantBatches(t, filepath.Join(dir, "usage"), answered)
}

// cutPower lets a file system forget what is not on its disk, without its log being flushed.
func cutPower(dir string) error {
	const (
		ioctlShutdown = 0x8004587d // FS_IOC_SHUTDOWN
		noLogFlush    = 2
	)
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.IoctlSetPointerInt(int(f.Fd()), ioctlShutdown, noLogFlush)
}

// mountTemporary mounts a file system for the time of a test, which is skipped where that is not allowed.
func mountTemporary(t *testing.T, kind, source, options string) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can mount a file system")
	}
	dir := t.TempDir()
	args := []string{"-o", options, source, dir}
	if kind != "" {
		args = append([]string{"-t", kind}, args...)
	}
	if out, err := exec.Command("mount", args...).CombinedOutput(); err != nil {
		t.Skipf("mount %s: %v: %s", strings.Join(args, " "), err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
			if out2, err2 := exec.Command("umount", "-l", dir).CombinedOutput(); err2 != nil {
				t.Errorf("umount: %v: %s; %v: %s", err, out, err2, out2)
			}
		}
	})
	return dir
}

func TestAFlippedBitIsFoundAndChangesNoTotal(t *testing.T) {
	dir := t.TempDir()
	o := childOptions(dir)
	o.Manual = true
	l, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	for n := range 20 {
		if _, err := l.Append(context.Background(), childEvents(n)); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.state.store.db.Flush(); err != nil {
		t.Fatal(err)
	}
	for n := 20; n < 30; n++ {
		if _, err := l.Append(context.Background(), childEvents(n)); err != nil {
			t.Fatal(err)
		}
	}
	image := t.TempDir()
	copyTree(t, dir, image) // as it is while it runs: parts were not made yet
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(3, 3))
	files, err := filepath.Glob(filepath.Join(image, "state", "writer=main", "store", "*"))
	if err != nil {
		t.Fatal(err)
	}
	silent := 0
	for _, file := range files {
		info, err := os.Stat(file)
		if err != nil || info.Size() == 0 || filepath.Base(file) == "LOCK" || strings.HasPrefix(filepath.Base(file), "OPTIONS") {
			continue
		}
		for range 6 {
			damaged := t.TempDir()
			copyTree(t, image, damaged)
			at := rng.Int64N(info.Size())
			flipBit(t, filepath.Join(damaged, "state", "writer=main", "store", filepath.Base(file)), at, byte(1<<rng.IntN(8)))
			if err := readDamaged(t, damaged); err == nil {
				silent++
			} else if got, truth := customerTotal(t, damaged), customerTotal(t, dir); got > truth {
				// It may fail after parts have appeared, which are whole: there is never more than what is true.
				t.Errorf("%s at %d: %s, more than %s: %v", filepath.Base(file), at, got, truth, err)
			}
		}
	}
	t.Logf("%d flips were in bytes that nothing reads", silent)
}

// readDamaged makes parts of a ledger whose store was damaged. When that succeeds, everything is there.
func readDamaged(t *testing.T, dir string) error {
	t.Helper()
	o := childOptions(dir)
	o.Manual = true
	l, err := Open(o)
	if err != nil {
		return err
	}
	err = l.Seal(context.Background())
	if closeErr := l.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return err
	}
	want := map[string]int64{}
	for n := range 30 {
		for _, e := range childEvents(n) {
			want[e.Customer+"/llm_tokens_in"] += int64(e.Lines[0].Quantity)
		}
	}
	got := (reader{t, OS, dir}).rollups()
	for k, v := range want {
		if got[k] != usage.Quantity(v).String() {
			t.Fatalf("%s: %s, want %s, and nothing was said", k, got[k], usage.Quantity(v))
		}
	}
	return nil
}

func customerTotal(t *testing.T, dir string) usage.Quantity {
	t.Helper()
	text := (reader{t, OS, dir}).rollups()["customer-1/llm_tokens_in"]
	if text == "" {
		return 0
	}
	q, err := usage.ParseQuantity(text)
	if err != nil {
		t.Fatal(err)
	}
	return q
}

func flipBit(t *testing.T, path string, at int64, bit byte) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var b [1]byte
	if _, err := f.ReadAt(b[:], at); err != nil && !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	b[0] ^= bit
	if _, err := f.WriteAt(b[:], at); err != nil {
		t.Fatal(err)
	}
}

func copyTree(t *testing.T, from, to string) {
	t.Helper()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
}
