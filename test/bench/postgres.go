package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/usagebox/otelcol-usagebox/test/bench/postgres"
)

const postgresConns = 4

// postgresRows is what many would build in place of a ledger: COPY into a staging table, then INSERT … ON CONFLICT DO NOTHING by (customer,
// event_id), a commit per batch, from several connections. It makes no rollups and no files.
func postgresRows(b *bench) error {
	bin, err := postgres.Find()
	if err != nil {
		fmt.Println("PostgreSQL is not compared:", err)
		return nil
	}
	fmt.Printf("Events in batches of %d over %d connections: the durable pipeline against PostgreSQL, COPY + INSERT … ON CONFLICT\n\n", eventsPerRequest, postgresConns)
	header("events before", "PostgreSQL, events/s", "durable, events/s", "ratio", "PostgreSQL's server, CPU-s per million", "durable, CPU-s per million")
	for _, text := range strings.Split(b.rows, ",") {
		rows, err := strconv.Atoi(text)
		if err != nil {
			return fmt.Errorf("-rows: %w", err)
		}
		subject := eventSubject{name: "durable pipeline", config: durableConfig, conns: postgresConns, durable: true}
		if subject.ledger, err = b.filledLedger(rows); err != nil {
			return err
		}
		var theirs, ours []measured
		for range b.rounds {
			m, err := b.postgres(bin, rows)
			if err != nil {
				return err
			}
			theirs = append(theirs, m)
			if m, err = b.events(subject); err != nil {
				return err
			}
			ours = append(ours, m)
		}
		if err := os.RemoveAll(subject.ledger); err != nil {
			return err
		}
		row(fmt.Sprint(rows), spread(theirs, measured.rate, "%.0f"), spread(ours, measured.rate, "%.0f"),
			ratio(median(ours, measured.rate), median(theirs, measured.rate)), spread(theirs, measured.cpu, "%.1f"), spread(ours, measured.cpu, "%.1f"))
	}
	return nil
}

const (
	columns = "customer, event_id, at, meter, model, quantity, user_id, feature"
	schema  = `CREATE TABLE events (customer text, event_id text, at timestamptz, meter text, model text, quantity numeric(18,6), user_id text, feature text, PRIMARY KEY (customer, event_id));`
	fill    = `INSERT INTO events SELECT 'customer-' || i %% 97, 'old_' || md5(i::text), now(), 'llm_tokens_in', 'claude-4.5-sonnet', 1000, 'user', 'chat' FROM generate_series(1, %d) i; ANALYZE events; CHECKPOINT;`
)

// postgres measures batches from scripts that psql runs: as many of them as take about the load's time.
func (b *bench) postgres(bin string, rows int) (m measured, err error) {
	dir, err := b.folder()
	if err != nil {
		return m, err
	}
	if err := os.Chmod(b.dir, 0o755); err != nil {
		return m, err
	}
	p, err := postgres.Start(bin, dir)
	if err != nil {
		return m, err
	}
	defer func() {
		if stopped := p.Stop(); err == nil {
			err = stopped
		}
	}()
	if err := p.Run("psql", "-q", "-v", "ON_ERROR_STOP=1", "-c", schema, "-c", fmt.Sprintf(fill, rows)); err != nil {
		return m, err
	}
	batches := max(5, int(b.seconds.Seconds()*15))
	scripts := make([]string, postgresConns)
	for c := range scripts {
		scripts[c] = filepath.Join(dir, fmt.Sprintf("load-%d.sql", c))
		if err := os.WriteFile(scripts[c], []byte(script(c, batches)), 0o644); err != nil {
			return m, err
		}
	}
	before, err := serverCPU(p)
	if err != nil {
		return m, err
	}
	var g errgroup.Group
	begin := time.Now()
	for _, s := range scripts {
		g.Go(func() error { return p.Run("psql", "-q", "-v", "ON_ERROR_STOP=1", "-f", s) })
	}
	if err := g.Wait(); err != nil {
		return m, err
	}
	events := float64(postgresConns * batches * eventsPerRequest)
	m.perSecond = events / time.Since(begin).Seconds()
	after, err := serverCPU(p)
	m.cpuPerUnit = (after - before).Seconds() / events * 1e6
	return m, err
}

// serverCPU is what the server and the connections that it has ended have used.
func serverCPU(p *postgres.Instance) (time.Duration, error) {
	pid, err := p.PID()
	if err != nil {
		return 0, err
	}
	return cpuTime(pid, true)
}

func script(conn, batches int) string {
	var b strings.Builder
	b.WriteString("CREATE TEMP TABLE staging (LIKE events) ON COMMIT DELETE ROWS;\n")
	at := time.Now().UTC().Format(time.RFC3339)
	for n := range batches {
		fmt.Fprintf(&b, "BEGIN;\nCOPY staging (%s) FROM STDIN;\n", columns)
		for i := range eventsPerRequest {
			id := mix(uint64((n*postgresConns+conn)*eventsPerRequest + i))
			fmt.Fprintf(&b, "customer-%d\treq_%016x\t%s\tllm_tokens_in\tclaude-4.5-sonnet\t%d\tuser-%d\tchat\n", i%97, id, at, 1000+i, i%31)
		}
		fmt.Fprintf(&b, "\\.\nINSERT INTO events (%s) SELECT %s FROM staging ON CONFLICT (customer, event_id) DO NOTHING;\nCOMMIT;\n", columns, columns)
	}
	return b.String()
}
