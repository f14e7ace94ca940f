package dirlock

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

const holdEnvironment = "DIRLOCK_TEST_HOLD"

// TestMain makes this binary a second process that holds a directory until its standard input ends.
func TestMain(m *testing.M) {
	dir := os.Getenv(holdEnvironment)
	if dir == "" {
		os.Exit(m.Run())
	}
	if _, err := Acquire(dir, "the test's directory"); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("held")
	_, _ = bufio.NewReader(os.Stdin).ReadString('\n')
}

func TestASecondProcessIsToldWhoHoldsTheDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made", "on demand")
	other := exec.Command(os.Args[0])
	other.Env = append(os.Environ(), holdEnvironment+"="+dir)
	stdin, err := other.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := other.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	if line, _ := bufio.NewReader(stdout).ReadString('\n'); line != "held\n" {
		t.Fatal(line)
	}

	_, err = Acquire(dir, "the ledger's directory")
	var held *HeldError
	if !errors.As(err, &held) || held.Holder.PID != other.Process.Pid {
		t.Fatalf("got %v", err)
	}
	want := fmt.Sprintf("the ledger's directory %s is in use by process %d on ", dir, other.Process.Pid)
	if !strings.HasPrefix(err.Error(), want) || !strings.HasSuffix(err.Error(), "): stop it, or set another directory") {
		t.Fatalf("got %v", err)
	}

	if err := other.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = stdin.Close()
	_ = other.Wait()
	lock, err := Acquire(dir, "the ledger's directory")
	if err != nil {
		t.Fatalf("the lock outlived its process: %v", err)
	}
	if err := lock.Release(); err != nil {
		t.Fatal(err)
	}
}

func TestOneProcessDoesNotTakeADirectoryTwice(t *testing.T) {
	dir := t.TempDir()
	first, err := Acquire(dir, "the index's directory")
	if err != nil {
		t.Fatal(err)
	}
	_, err = Acquire(dir, "the index's directory")
	if held := (*HeldError)(nil); !errors.As(err, &held) || !strings.Contains(err.Error(), "in use by this process already") {
		t.Fatalf("got %v", err)
	}
	if err := first.Release(); err != nil {
		t.Fatal(err)
	}
	again, err := Acquire(dir, "the index's directory")
	if err != nil {
		t.Fatal(err)
	}
	_ = again.Release()
	if err := again.Release(); err != nil {
		t.Fatalf("a second release: %v", err)
	}
}

// Two commands and a collector that start at once get the directory one after another: none fails because another looks.
func TestACommandIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		command, err := Borrow(dir, "the ledger's state")
		if err != nil {
			t.Fatal(err)
		}
		time.AfterFunc(3*time.Second, func() { _ = command.Release() })
		start := time.Now()
		owner, err := Acquire(dir, "the ledger's state")
		if err != nil {
			t.Fatal(err)
		}
		if waited := time.Since(start); waited < 3*time.Second || waited > 3*time.Second+pause {
			t.Errorf("it waited %v", waited)
		}
		if _, err := Borrow(dir, "the ledger's state"); err == nil || time.Since(start) > 4*time.Second {
			t.Errorf("a command waits for an owner that stays: %v", err)
		}
		_ = owner.Release()
	})
}

func TestACommandThatStaysIsNotWaitedForForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		command, err := Borrow(dir, "the ledger's state")
		if err != nil {
			t.Fatal(err)
		}
		_, err = Acquire(dir, "the ledger's state")
		if held := (*HeldError)(nil); !errors.As(err, &held) || !held.Holder.Borrows || !strings.HasSuffix(err.Error(), "start again when it has ended") {
			t.Errorf("got %v", err)
		}
		_ = command.Release()
	})
}

func TestADirectoryThatCannotBeUsedIsNamed(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Acquire(filepath.Join(file, "below"), "the ledger's directory")
	if err == nil || !strings.HasPrefix(err.Error(), "the ledger's directory "+file) || strings.Count(err.Error(), file) != 1 {
		t.Fatalf("got %v", err)
	}
	if os.Geteuid() == 0 {
		t.Log("root writes everywhere: the message about rights is not shown here")
		return
	}
	closed := t.TempDir()
	if err := os.Chmod(closed, 0o500); err != nil {
		t.Fatal(err)
	}
	if _, err := Acquire(filepath.Join(closed, "x"), "the ledger's directory"); err == nil || !strings.Contains(err.Error(), "give this user the right to write there") {
		t.Fatalf("got %v", err)
	}
}
