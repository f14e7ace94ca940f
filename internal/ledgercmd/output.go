package ledgercmd

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/usagebox/otelcol-usagebox/internal/decimal"
	"github.com/usagebox/otelcol-usagebox/internal/ledger/parquetfile"
	"github.com/usagebox/otelcol-usagebox/usage"
)

func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// grid is a table for people. Cells of columns whose heading begins with '>' are set to the right.
type grid struct {
	headings []string
	rows     [][]string
}

func newGrid(headings ...string) *grid { return &grid{headings: headings} }

func (g *grid) row(cells ...string) { g.rows = append(g.rows, cells) }

func (g *grid) print(w io.Writer) error {
	widths := make([]int, len(g.headings))
	heads := make([]string, len(g.headings))
	for i, h := range g.headings {
		heads[i] = strings.TrimPrefix(h, ">")
		widths[i] = width(heads[i])
	}
	for _, row := range g.rows {
		for i, cell := range row {
			widths[i] = max(widths[i], width(cell))
		}
	}
	tw := tabwriter.NewWriter(w, 0, 0, 0, ' ', 0)
	for _, row := range append([][]string{heads}, g.rows...) {
		var line strings.Builder
		for i, cell := range row {
			pad := strings.Repeat(" ", widths[i]-width(cell))
			if strings.HasPrefix(g.headings[i], ">") {
				line.WriteString(pad + cell)
			} else {
				line.WriteString(cell + pad)
			}
			line.WriteString("  ")
		}
		if _, err := fmt.Fprintln(tw, strings.TrimRight(line.String(), " ")); err != nil {
			return err
		}
	}
	return tw.Flush()
}

func width(s string) int { return len([]rune(s)) }

func quantityText(v decimal.Int128) string { return string(v.Append(nil, usage.QuantityScale)) }
func amountText(v decimal.Int128) string   { return string(v.Append(nil, usage.AmountScale)) }

func moneyText(m parquetfile.Money) string {
	if !m.Known {
		return "-"
	}
	return amountText(m.Amount)
}

func hourText(h usage.Hour) string { return h.Start().Time().Format("2006-01-02T15:04Z") }

func momentText(m usage.Micros) string { return m.Time().Format("2006-01-02T15:04:05.999999Z07:00") }

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// byteText is n for people.
func byteText(n int64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	unit, rest := 0, int64(0)
	for n >= 1024 && unit < len(units)-1 {
		rest = n % 1024
		n /= 1024
		unit++
	}
	if unit == 0 || n >= 100 {
		return fmt.Sprintf("%d %s", n, units[unit])
	}
	return fmt.Sprintf("%d.%d %s", n, rest*10/1024, units[unit])
}

func countText(n int64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// terminal is w when it is one, else nil.
func terminal(w io.Writer) io.Writer {
	f, ok := w.(*os.File)
	if !ok {
		return nil
	}
	info, err := f.Stat()
	if err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return nil
	}
	return w
}

// progress shows how far a command is, on a terminal.
type progress struct {
	w           io.Writer
	what        string
	done, total int
	shown       time.Time
}

func (c *common) startProgress(what string, total int) *progress {
	return &progress{w: c.progress, what: what, total: total}
}

const progressInterval = 100 * time.Millisecond

func (p *progress) step() {
	p.done++
	if p.w == nil || p.total == 0 || time.Since(p.shown) < progressInterval {
		return
	}
	p.shown = time.Now()
	const cells = 30
	full := cells * p.done / p.total
	_, _ = fmt.Fprintf(p.w, "\r%s [%s%s] %d/%d", p.what, strings.Repeat("#", full), strings.Repeat(".", cells-full), p.done, p.total)
}

func (p *progress) end() {
	if p.w != nil && !p.shown.IsZero() {
		_, _ = fmt.Fprint(p.w, "\r\x1b[K")
	}
}

// printer keeps the first error.
type printer struct {
	w   io.Writer
	err error
}

func (p *printer) linef(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, format+"\n", args...)
	}
}

func (p *printer) grid(g *grid) {
	if p.err == nil && len(g.rows) > 0 {
		p.err = g.print(p.w)
	}
}

// section prints a table after an empty line, or nothing.
func (p *printer) section(g *grid) {
	if len(g.rows) > 0 {
		p.linef("")
		p.grid(g)
	}
}
