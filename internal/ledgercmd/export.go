package ledgercmd

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"github.com/usagebox/otelcol-usagebox/internal/ledger/parquetfile"
	"github.com/usagebox/otelcol-usagebox/usage"
)

type exportOptions struct {
	rangeFlags
	table, format, output, customer string
}

func newExportCommand(c *common) *cobra.Command {
	o := &exportOptions{}
	cmd := &cobra.Command{
		Use:   "export [--table events|rollups|runs|refused] [--format csv|ndjson|parquet]",
		Short: "Copy a range of a table to one CSV, NDJSON or Parquet file, exactly",
		Long: "Copy a range of a table to one file. Events are those that happened in the range, to the microsecond; of rollups and runs it takes\n" +
			"whole hours, so the range has to lie on hours; refused events go by their arrival. In CSV and NDJSON decimals and times are text, so that\n" +
			"no reader rounds them.",
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return c.export(o) },
	}
	o.add(cmd)
	cmd.Flags().StringVar(&o.table, "table", parquetfile.Events, "events, rollups, runs or refused")
	cmd.Flags().StringVar(&o.format, "format", "csv", "csv, ndjson or parquet")
	cmd.Flags().StringVarP(&o.output, "output", "o", "-", "the file to make; - is the standard output")
	cmd.Flags().StringVar(&o.customer, "customer", "", "one customer only")
	return cmd
}

func (c *common) export(o *exportOptions) error {
	r, err := o.parse()
	if err != nil {
		return err
	}
	if !slices.Contains([]string{"csv", "ndjson", "parquet"}, o.format) {
		return fmt.Errorf("--format %q is not csv, ndjson or parquet", o.format)
	}
	var write func(sink, timeRange) error
	switch o.table {
	case parquetfile.Events:
		write = func(s sink, r timeRange) error { return c.exportEvents(s, r, o.customer) }
	case parquetfile.Rollups:
		write = func(s sink, r timeRange) error { return c.exportRollups(s, r, o.customer) }
	case parquetfile.Runs:
		write = func(s sink, r timeRange) error { return c.exportRuns(s, r, o.customer) }
	case parquetfile.Refused:
		write = func(s sink, r timeRange) error { return c.exportRefused(s, r, o.customer) }
	default:
		return fmt.Errorf("--table %q is not events, rollups, runs or refused", o.table)
	}
	if o.table == parquetfile.Rollups || o.table == parquetfile.Runs {
		if r.from != always.from && r.from%usage.MicrosPerHour != 0 || r.to != always.to && r.to%usage.MicrosPerHour != 0 {
			return fmt.Errorf("--from and --to have to be whole hours: %s are kept by the hour", o.table)
		}
	}
	make := func(w io.Writer) error {
		s, err := newSink(w, o.table, o.format)
		if err != nil {
			return err
		}
		if err := write(s, r); err != nil {
			return err
		}
		return s.close()
	}
	if o.output == "-" {
		buffered := bufio.NewWriterSize(c.out, 256<<10)
		if err := make(buffered); err != nil {
			return err
		}
		return buffered.Flush()
	}
	return writeFile(o.output, func(w io.Writer) error {
		buffered := bufio.NewWriterSize(w, 256<<10)
		if err := make(buffered); err != nil {
			return err
		}
		return buffered.Flush()
	})
}

// held are the files of an hour, open, so that an exchange of its folders doesn't take them away.
type held []*file

func (h held) close() {
	for _, f := range h {
		_ = f.Close()
	}
}

// hold opens a writer's files of an hour in a tree.
func (c *common) hold(f folder, tree int) (files held, err error) {
	err = c.steady(f, func(l *listing, _ bool) error {
		files.close()
		files = nil
		for _, name := range l[tree] {
			file, err := c.open(f.part(trees[tree], name))
			if err != nil {
				return err
			}
			files = append(files, file)
		}
		return nil
	})
	if err != nil {
		files.close()
		return nil, fmt.Errorf("%s: %w", f, err)
	}
	return files, nil
}

// exportEvents gives the events hour by hour, of an hour by customer and time.
func (c *common) exportEvents(s sink, r timeRange, customer string) error {
	folders, _, err := c.folders(r)
	if err != nil {
		return err
	}
	for len(folders) > 0 {
		end := 1
		for end < len(folders) && folders[end].hour == folders[0].hour {
			end++
		}
		if err := c.exportHour(s, r, folders[:end], customer); err != nil {
			return err
		}
		folders = folders[end:]
	}
	return nil
}

func (c *common) exportHour(s sink, r timeRange, folders []folder, customer string) error {
	var sources []parquetfile.Source
	for _, f := range folders {
		files, err := c.hold(f, 0)
		if err != nil {
			return err
		}
		defer files.close()
		for _, file := range files {
			events, err := parquetfile.OpenEvents(file, file.size)
			if err != nil {
				return fmt.Errorf("%s: %w", file.rel, err)
			}
			if customer != "" {
				reader := events.Customer(customer)
				defer reader.Close()
				sources = append(sources, reader)
			} else {
				reader := events.Events()
				defer reader.Close()
				sources = append(sources, reader)
			}
		}
	}
	merge := parquetfile.NewMerge(sources...)
	for {
		var e usage.Event
		err := merge.Next(&e)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("hour %s: %w", hourText(folders[0].hour), err)
		}
		if r.contains(e.Timestamp) {
			if err := s.event(&e); err != nil {
				return err
			}
		}
	}
}

func (c *common) exportRollups(s sink, r timeRange, customer string) error {
	return c.eachHeld(r, 2, func(f *file) error {
		g, err := parquetfile.RollupGrouping(f, f.size)
		if err != nil {
			return err
		}
		return parquetfile.ReadRollups(f, f.size, func(row *parquetfile.RollupRow) error {
			if customer != "" && row.Customer != customer {
				return nil
			}
			return s.rollup(row, g)
		})
	})
}

func (c *common) exportRuns(s sink, r timeRange, customer string) error {
	return c.eachHeld(r, 1, func(f *file) error {
		return parquetfile.ReadRuns(f, f.size, func(row *parquetfile.RunRow) error {
			if customer != "" && row.Customer != customer {
				return nil
			}
			return s.run(row)
		})
	})
}

func (c *common) eachHeld(r timeRange, tree int, do func(f *file) error) error {
	folders, _, err := c.folders(r)
	if err != nil {
		return err
	}
	for _, f := range folders {
		files, err := c.hold(f, tree)
		if err != nil {
			return err
		}
		for _, file := range files {
			if err := do(file); err != nil {
				files.close()
				return fmt.Errorf("%s: %w", file.rel, err)
			}
		}
		files.close()
	}
	return nil
}

func (c *common) exportRefused(s sink, r timeRange, customer string) error {
	return c.eachRefused(func(row *parquetfile.RefusedRow) error {
		if !r.contains(row.At) || customer != "" && row.Customer != customer {
			return nil
		}
		return s.refused(row)
	})
}

// refusedFiles are the files of refused/, day by day.
func (c *common) refusedFiles() ([]string, error) {
	paths, err := filepath.Glob(filepath.Join(escape(c.directory), parquetfile.Refused, "date=*", "writer=*", "*"+extension))
	if err != nil {
		return nil, err
	}
	slices.Sort(paths)
	for i := range paths {
		rel, err := filepath.Rel(c.directory, paths[i])
		if err != nil {
			return nil, err
		}
		paths[i] = filepath.ToSlash(rel)
	}
	return paths, nil
}

// eachRefused calls do for every row of refused/.
func (c *common) eachRefused(do func(*parquetfile.RefusedRow) error) error {
	files, err := c.refusedFiles()
	if err != nil {
		return err
	}
	for _, rel := range files {
		if err := c.readRefused(rel, do); err != nil {
			return fmt.Errorf("%s: %w", rel, err)
		}
	}
	return nil
}

func (c *common) readRefused(rel string, do func(*parquetfile.RefusedRow) error) error {
	f, err := c.open(rel)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	return parquetfile.ReadRefused(f, f.size, do)
}

// encodeLine writes v as a line of JSON.
func encodeLine(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}
