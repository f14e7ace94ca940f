package feed

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
)

// A file that is being written is read when it is whole, and what was read before stays until then.
func TestAChangeOfTheCustomersFileIsTakenWhenTwoLooksSeeTheSame(t *testing.T) {
	path := filepath.Join(t.TempDir(), "customers.csv")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c := Customers{File: path}
	want := func(when, name string) {
		t.Helper()
		if got, _ := c.Resolve(&Record{Customer: "acme"}); got != name {
			t.Fatalf("%s: acme is %q, want %q", when, got, name)
		}
	}
	look := func() {
		t.Helper()
		if err := c.Refresh(); err != nil {
			t.Fatal(err)
		}
	}
	write("\ufeffacme, cus_1 \n")
	if err := c.Read(); err != nil {
		t.Fatal(err)
	}
	want("with a spreadsheet's mark and spaces", "cus_1")
	write("acme,cus")
	look()
	want("half of it is written", "cus_1")
	write("acme,cus_22\n")
	look()
	want("it was changed since the last look", "cus_1")
	look()
	want("it stays as it is", "cus_22")
	write("acme,cus_333\n")
	if err := c.Read(); err != nil {
		t.Fatal(err)
	}
	want("someone says that it is ready", "cus_333")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if c.Refresh() == nil {
		t.Fatal("a file that is gone is no error")
	}
	want("it is gone", "cus_333")
}

// Without the file every customer would be unknown, and every record dead.
func TestAFeedDoesNotBeginWithoutItsCustomersFile(t *testing.T) {
	_, err := Open(Options{
		Books: newSimBooks(rand.New(rand.NewPCG(1, 1))), Directory: t.TempDir(), Writer: "main", Manual: true,
		Receivers: []Spec{{Name: "r", Receiver: &scripted{limits: Limits{Batch: 1}}, Customers: &Customers{File: filepath.Join(t.TempDir(), "mistyped.csv")}}},
	})
	if err == nil {
		t.Fatal("it has begun")
	}
}
