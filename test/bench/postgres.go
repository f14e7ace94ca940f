package main

import (
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
)

const postgresConns = 4

// postgres is an instance of its own, on a socket in its folder, that runs as somebody who is not root.
type postgres struct {
	bin, dir string
	as       *syscall.SysProcAttr
}

// postgresRows is what many would build in place of a ledger: COPY into a staging table, then INSERT … ON CONFLICT DO NOTHING by (customer,
// event_id), a commit per batch, from several connections. It makes no rollups and no files.
func postgresRows(b *bench) error {
	bin, err := postgresBin()
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

// postgresBin is the folder of the newest PostgreSQL.
func postgresBin() (string, error) {
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin")
	if err != nil {
		return "", err
	}
	if path, err := exec.LookPath("postgres"); err == nil {
		found = append(found, filepath.Dir(path))
	}
	whole := func(dir string) bool {
		for _, program := range []string{"initdb", "pg_ctl", "psql", "postgres"} {
			if _, err := exec.LookPath(filepath.Join(dir, program)); err != nil {
				return false
			}
		}
		return true
	}
	for _, dir := range slices.Backward(found) {
		if whole(dir) {
			return dir, nil
		}
	}
	return "", fmt.Errorf("initdb, pg_ctl, psql and postgres are not together in PATH or /usr/lib/postgresql")
}

func (p *postgres) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(p.bin, name), args...)
	cmd.Dir, cmd.SysProcAttr = p.dir, p.as
	cmd.Env = append(os.Environ(), "LC_ALL=C", "PGHOST="+p.dir, "PGDATABASE=postgres", "PGUSER=bench", "HOME="+p.dir)
	return cmd
}

func (p *postgres) run(name string, args ...string) error {
	if out, err := p.command(name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", name, err, out)
	}
	return nil
}

func (b *bench) newPostgres(bin string) (*postgres, error) {
	dir, err := b.folder()
	if err != nil {
		return nil, err
	}
	p := &postgres{bin: bin, dir: dir}
	if os.Getuid() == 0 {
		who, err := user.Lookup("nobody")
		if err != nil {
			return nil, err
		}
		uid, err := strconv.Atoi(who.Uid)
		if err != nil {
			return nil, err
		}
		gid, err := strconv.Atoi(who.Gid)
		if err != nil {
			return nil, err
		}
		p.as = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
		if err := os.Chown(dir, uid, gid); err != nil {
			return nil, err
		}
		if err := os.Chmod(b.dir, 0o755); err != nil {
			return nil, err
		}
	}
	data := filepath.Join(dir, "data")
	if err := p.run("initdb", "-D", data, "-U", "bench", "-A", "trust", "-E", "UTF8", "--no-sync"); err != nil {
		return nil, err
	}
	return p, p.run("pg_ctl", "-D", data, "-w", "-l", filepath.Join(dir, "log"), "-o",
		"-c listen_addresses= -c unix_socket_directories="+dir+" -c shared_buffers=1GB -c max_wal_size=8GB -c wal_compression=lz4 -c checkpoint_timeout=30min", "start")
}

func (p *postgres) stop() error {
	return p.run("pg_ctl", "-D", filepath.Join(p.dir, "data"), "-w", "-m", "fast", "stop")
}

const (
	columns = "customer, event_id, at, meter, model, quantity, user_id, feature"
	schema  = `CREATE TABLE events (customer text, event_id text, at timestamptz, meter text, model text, quantity numeric(18,6), user_id text, feature text, PRIMARY KEY (customer, event_id));`
	fill    = `INSERT INTO events SELECT 'customer-' || i %% 97, 'old_' || md5(i::text), now(), 'llm_tokens_in', 'claude-4.5-sonnet', 1000, 'user', 'chat' FROM generate_series(1, %d) i; ANALYZE events; CHECKPOINT;`
)

// postgres measures batches from scripts that psql runs: as many of them as take about the load's time.
func (b *bench) postgres(bin string, rows int) (m measured, err error) {
	p, err := b.newPostgres(bin)
	if err != nil {
		return m, err
	}
	defer func() {
		if stopped := p.stop(); err == nil {
			err = stopped
		}
	}()
	if err := p.run("psql", "-q", "-v", "ON_ERROR_STOP=1", "-c", schema, "-c", fmt.Sprintf(fill, rows)); err != nil {
		return m, err
	}
	batches := max(5, int(b.seconds.Seconds()*15))
	scripts := make([]string, postgresConns)
	for c := range scripts {
		scripts[c] = filepath.Join(p.dir, fmt.Sprintf("load-%d.sql", c))
		if err := os.WriteFile(scripts[c], []byte(script(c, batches)), 0o644); err != nil {
			return m, err
		}
	}
	before, err := p.cpu()
	if err != nil {
		return m, err
	}
	var g errgroup.Group
	begin := time.Now()
	for _, s := range scripts {
		g.Go(func() error { return p.run("psql", "-q", "-v", "ON_ERROR_STOP=1", "-f", s) })
	}
	if err := g.Wait(); err != nil {
		return m, err
	}
	events := float64(postgresConns * batches * eventsPerRequest)
	m.perSecond = events / time.Since(begin).Seconds()
	after, err := p.cpu()
	m.cpuPerUnit = (after - before).Seconds() / events * 1e6
	return m, err
}

// cpu is what the server and the connections that it has ended have used.
func (p *postgres) cpu() (time.Duration, error) {
	text, err := os.ReadFile(filepath.Join(p.dir, "data", "postmaster.pid"))
	if err != nil {
		return 0, err
	}
	pid, _, _ := strings.Cut(string(text), "\n")
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
