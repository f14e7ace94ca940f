package catalogcmd

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/usagebox/otelcol-usagebox/internal/ledger/parquetfile"
	"github.com/usagebox/otelcol-usagebox/usage"
)

// ledger is a part of a ledger's events: those with a time in [from, to).
type ledger struct {
	directory string
	from, to  string
	writer    string // empty: of all
}

func (l *ledger) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&l.directory, "ledger", "", "the ledger's directory, as in the usage exporter's configuration")
	cmd.Flags().StringVar(&l.from, "from", "", "the first moment: 2026-05, 2026-05-16 or RFC 3339")
	cmd.Flags().StringVar(&l.to, "to", "", "the moment after the last one, in the same forms")
}

func parseMoment(flag, text string) (usage.Micros, error) {
	for _, layout := range [...]string{"2006-01", time.DateOnly, "2006-01-02T15", time.RFC3339Nano} {
		if t, err := time.Parse(layout, text); err == nil {
			return usage.MicrosOf(t), nil
		}
	}
	return 0, fmt.Errorf("%s %q is none of 2026-05, 2026-05-16, 2026-05-16T18, 2026-05-16T18:42:11Z", flag, text)
}

// hourFolder is what a writer has of one hour.
type hourFolder struct {
	dir   string
	start usage.Micros
}

// bounds are the range as times.
func (l *ledger) bounds() (from, to usage.Micros, err error) {
	from, to = -1<<62, 1<<62
	if l.from != "" {
		if from, err = parseMoment("--from", l.from); err != nil {
			return 0, 0, err
		}
	}
	if l.to != "" {
		if to, err = parseMoment("--to", l.to); err != nil {
			return 0, 0, err
		}
	}
	if from >= to {
		return 0, 0, errors.New("--from is not before --to: the range is empty")
	}
	return from, to, nil
}

// hours are the folders that hold something of a range, in the order of time.
func (l *ledger) hours(from, to usage.Micros) (found []hourFolder, err error) {
	root := filepath.Join(l.directory, parquetfile.Events)
	if _, err := os.Stat(root); err != nil {
		return nil, fmt.Errorf("%s holds no ledger: %w", l.directory, err)
	}
	folders, err := fs.Glob(os.DirFS(root), "date=*/hour=*/writer="+cmp.Or(l.writer, "*"))
	if err != nil {
		return nil, err
	}
	slices.Sort(folders)
	for _, folder := range folders {
		start, err := time.Parse("date=2006-01-02/hour=15", folder[:strings.LastIndexByte(folder, '/')])
		if err == nil && usage.MicrosOf(start) < to && usage.MicrosOf(start)+usage.MicrosPerHour > from {
			found = append(found, hourFolder{filepath.Join(root, filepath.FromSlash(folder)), usage.MicrosOf(start)})
		}
	}
	return found, nil
}

// each calls with every event in the range.
func (l *ledger) each(call func(*usage.Event) error) error {
	from, to, err := l.bounds()
	if err != nil {
		return err
	}
	hours, err := l.hours(from, to)
	if err != nil {
		return err
	}
	for _, h := range hours {
		if err := h.open(func(p parts) error {
			return p.each(func(e *usage.Event) error {
				if e.Timestamp < from || e.Timestamp >= to {
					return nil
				}
				return call(e)
			})
		}); err != nil {
			return err
		}
	}
	return nil
}

const (
	openTries = 20
	openPause = 100 * time.Millisecond
)

// parts are the open files of a folder: they stay what they are, whatever happens to the folder.
type parts []*os.File

// open calls with the parts of a folder. All are opened before the first is read, so that a folder that is exchanged meanwhile is read
// as it was, or opened again.
func (h hourFolder) open(call func(parts) error) error {
	files, err := openAll(h.dir)
	for try := 1; errors.Is(err, fs.ErrNotExist) && try < openTries; try++ {
		time.Sleep(openPause)
		files, err = openAll(h.dir)
	}
	if err != nil {
		return err
	}
	defer func() {
		for _, f := range files {
			_ = f.Close()
		}
	}()
	return call(files)
}

// each calls with every event, which it may keep. It can be called again.
func (p parts) each(call func(*usage.Event) error) error {
	for _, f := range p {
		if err := eachOf(f, call); err != nil {
			return err
		}
	}
	return nil
}

func openAll(dir string) (files []*os.File, err error) {
	defer func() {
		if err != nil {
			for _, f := range files {
				_ = f.Close()
			}
		}
	}()
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".parquet") {
			continue
		}
		f, err := os.Open(filepath.Join(dir, e.Name()))
		if err != nil {
			return files, err
		}
		files = append(files, f)
	}
	return files, nil
}

func eachOf(f *os.File, call func(*usage.Event) error) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	events, err := parquetfile.OpenEvents(f, info.Size())
	if err != nil {
		return fmt.Errorf("%s: %w", f.Name(), err)
	}
	r := events.Events()
	defer r.Close()
	var e usage.Event
	for {
		err := r.Next(&e)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%s: %w", f.Name(), err)
		}
		if err := call(&e); err != nil {
			return err
		}
	}
}
