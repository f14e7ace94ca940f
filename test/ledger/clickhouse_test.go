package ledger

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
)

// installed says whether ClickHouse's library is in node_modules. It installs what package-lock.json names when it is not there; npm writes the file that it
// looks for when all is done, so an installation that was broken off is made again.
var installed = sync.OnceValues(func() (bool, error) {
	if _, err := os.Stat("node_modules/.package-lock.json"); err != nil {
		if out, err := exec.Command("npm", "ci", "--no-audit", "--no-fund").CombinedOutput(); err != nil {
			return false, fmt.Errorf("npm ci: %w: %s", err, out)
		}
	}
	libraries, err := os.ReadDir("node_modules/@chdb")
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	return len(libraries) > 0, err
})

// clickHouse is one that runs for a test, in a process of Node.js.
type clickHouse struct {
	in  io.Writer
	out *bufio.Reader
	err *bytes.Buffer
}

func newClickHouse(t *testing.T) *clickHouse {
	t.Helper()
	if _, err := exec.LookPath("node"); err != nil {
		t.Skip("ClickHouse reads the files in Node.js, which is not installed")
	}
	if !slices.Contains([]string{"linux/amd64", "linux/arm64", "darwin/amd64", "darwin/arm64"}, runtime.GOOS+"/"+runtime.GOARCH) {
		t.Skip("chdb has no ClickHouse for " + runtime.GOOS + "/" + runtime.GOARCH)
	}
	there, err := installed()
	if err != nil {
		t.Fatal(err)
	}
	if !there {
		t.Skip("chdb has no ClickHouse for this platform's C library")
	}
	cmd := exec.Command("node", "chdb.mjs")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("ClickHouse ended with %v: %s", err, stderr.String())
		}
	})
	return &clickHouse{in: in, out: bufio.NewReader(out), err: &stderr}
}

// ask gives the lines of a result, columns separated by tabs, null as \N.
func (c *clickHouse) ask(query string) ([]string, error) {
	if _, err := fmt.Fprintln(c.in, strings.ReplaceAll(query, "\n", " ")); err != nil {
		return nil, err
	}
	line, err := c.out.ReadBytes('\n')
	if err != nil {
		return nil, fmt.Errorf("no answer from ClickHouse: %w: %s", err, c.err.String())
	}
	var answer struct{ Rows, Error string }
	if err := json.Unmarshal(line, &answer); err != nil {
		return nil, err
	}
	if answer.Error != "" {
		return nil, errors.New(answer.Error)
	}
	if answer.Rows == "" {
		return nil, nil
	}
	return strings.Split(strings.TrimSuffix(answer.Rows, "\n"), "\n"), nil
}

// query gives the rows of a query as query of DuckDB does: columns separated by '|', null as 'NULL'.
func (c *clickHouse) query(t *testing.T, text string) []string {
	t.Helper()
	lines, err := c.ask(text)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	for i := range lines {
		lines[i] = strings.ReplaceAll(strings.ReplaceAll(lines[i], "\t", "|"), `\N`, "NULL")
	}
	return lines
}

// clickHouseSource is a table of the ledger as ClickHouse reads it.
func (d ledgerDir) clickHouseSource(table string) string {
	return fmt.Sprintf("file('%s/%s/**/*.parquet', Parquet)", string(d), table)
}
