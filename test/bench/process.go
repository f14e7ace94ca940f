package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// process is the program with a configuration, a folder and ports of its own.
type process struct {
	cmd     *exec.Cmd
	dir     string
	ports   ports
	log     bytes.Buffer
	exited  chan struct{}
	started time.Duration // CPU time when it was ready
	before  float64       // allocations until then
}

type ports struct{ OTLP, API, Metrics, Health, Pprof, Next string }

func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	return port, err
}

// start starts the program and waits until it is ready. next is the OTLP port of the program behind it, if there is one.
func (b *bench) start(config, next string) (*process, error) { return b.startWith("", config, next) }

// startWith is start with a copy of a ledger, when there is one.
func (b *bench) startWith(ledger, config, next string) (*process, error) {
	dir, err := b.folder()
	if err != nil {
		return nil, err
	}
	if ledger != "" {
		if err := os.CopyFS(filepath.Join(dir, "usage"), os.DirFS(ledger)); err != nil {
			return nil, err
		}
	}
	return b.startIn(dir, config, next)
}

// startIn is start in a folder of the caller's.
func (b *bench) startIn(dir, config, next string) (p *process, err error) {
	p = &process{dir: dir, ports: ports{Next: next}}
	for _, to := range []*string{&p.ports.OTLP, &p.ports.API, &p.ports.Metrics, &p.ports.Health, &p.ports.Pprof} {
		if *to, err = freePort(); err != nil {
			return nil, err
		}
	}
	return p, p.launch(b.binary, config)
}

// launch starts the program on what lies in its folder, and waits until it is ready.
func (p *process) launch(binary, config string) error {
	text := strings.NewReplacer("{dir}", p.dir, "{otlp}", p.ports.OTLP, "{api}", p.ports.API, "{metrics}", p.ports.Metrics, "{health}", p.ports.Health,
		"{pprof}", p.ports.Pprof, "{next}", p.ports.Next).Replace(config + common)
	file := filepath.Join(p.dir, "config.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return err
	}
	p.exited = make(chan struct{})
	p.cmd = exec.Command(binary, "--config", file)
	p.cmd.Dir = p.dir
	p.cmd.Stdout, p.cmd.Stderr = &p.log, &p.log
	if err := p.cmd.Start(); err != nil {
		return err
	}
	go func(cmd *exec.Cmd, exited chan struct{}) {
		_ = cmd.Wait()
		close(exited)
	}(p.cmd, p.exited)
	err := p.until(time.Minute, 20*time.Millisecond, "it is ready", func() (bool, error) {
		resp, err := http.Get("http://127.0.0.1:" + p.ports.Health)
		if err != nil {
			return false, nil
		}
		return resp.StatusCode == http.StatusOK, resp.Body.Close()
	})
	if err == nil {
		p.started, err = p.cpu()
	}
	if err == nil {
		p.before, err = p.allocations()
	}
	if err != nil {
		p.kill()
	}
	return err
}

// until asks again and again until done says so, or the limit is reached.
func (p *process) until(limit, every time.Duration, what string, done func() (bool, error)) error {
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		ok, err := done()
		if err != nil || ok {
			return err
		}
		select {
		case <-p.exited:
			return fmt.Errorf("the program ended before %s:\n%s", what, p.log.String())
		case <-deadline.C:
			return fmt.Errorf("after %s it is not so that %s", limit, what)
		case <-tick.C:
		}
	}
}

// stop ends the program as a service manager does.
func (p *process) stop() error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case <-p.exited:
	case <-time.After(2 * time.Minute):
		p.kill()
		return fmt.Errorf("the program did not stop within two minutes")
	}
	if !p.cmd.ProcessState.Success() {
		return fmt.Errorf("the program ended with %s:\n%s", p.cmd.ProcessState, p.log.String())
	}
	return nil
}

// parts is the size of the ledger's files for readers, in bytes.
func (p *process) parts() (bytes int64, err error) {
	return sizeOf(filepath.Join(p.dir, "usage"), ".parquet")
}

// sizeOf is what the files below a folder have in bytes, those with an extension or, when it is empty, all.
func sizeOf(dir, extension string) (bytes int64, err error) {
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || d.IsDir() || extension != "" && filepath.Ext(path) != extension {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		bytes += info.Size()
		return nil
	})
	return bytes, err
}

// kill ends the program at once, as a crash does.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.exited
}

// clockTick is how long a unit of /proc/PID/stat is, on every Linux that Go runs on.
const clockTick = 10 * time.Millisecond

// cpu is user and system time since the program started.
func (p *process) cpu() (time.Duration, error) {
	return cpuTime(strconv.Itoa(p.cmd.Process.Pid), false)
}

// cpuTime is a process's user and system time, and that of its children that have ended.
func cpuTime(pid string, children bool) (sum time.Duration, err error) {
	stat, err := os.ReadFile("/proc/" + pid + "/stat")
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))[11:15] // user, system, the same of children
	if !children {
		fields = fields[:2]
	}
	for _, f := range fields {
		ticks, err := strconv.Atoi(f)
		if err != nil {
			return 0, err
		}
		sum += time.Duration(ticks) * clockTick
	}
	return sum, nil
}

// peakRSS is in MiB.
func (p *process) peakRSS() (float64, error) { return p.status("VmHWM:") }

// status is an entry of /proc/PID/status, in MiB.
func (p *process) status(name string) (float64, error) {
	return statusOf(strconv.Itoa(p.cmd.Process.Pid), name)
}

func statusOf(pid, name string) (float64, error) {
	status, err := os.ReadFile("/proc/" + pid + "/status")
	if err != nil {
		return 0, err
	}
	_, after, _ := strings.Cut(string(status), name)
	fields := strings.Fields(after)
	if len(fields) == 0 {
		return 0, fmt.Errorf("no %s in /proc/%s/status", name, pid)
	}
	kib, err := strconv.ParseFloat(fields[0], 64)
	return kib / 1024, err
}

// metric is the sum of a metric of this project over its attributes; 0 when it was not written yet.
func (p *process) metric(name string) (sum float64, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://127.0.0.1:"+p.ports.Metrics+"/metrics", nil)
	if err != nil {
		return 0, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Text()
		end := strings.IndexAny(line, "{ ")
		if end < 0 || strings.TrimSuffix(line[:end], "_total") != "otelcol_usagebox_"+name {
			continue
		}
		v, err := strconv.ParseFloat(line[strings.LastIndexByte(line, ' ')+1:], 64)
		if err != nil {
			return 0, fmt.Errorf("metric %q: %w", line, err)
		}
		sum += v
	}
	return sum, lines.Err()
}

// allocations is how many objects the program has allocated since it started.
func (p *process) allocations() (n float64, err error) {
	resp, err := http.Get("http://127.0.0.1:" + p.ports.Pprof + "/debug/pprof/heap?debug=1")
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err
	}
	_, after, found := bytes.Cut(text, []byte("\n# Mallocs = "))
	if !found {
		return 0, errors.New("the heap's profile doesn't say how many objects were allocated")
	}
	number, _, _ := bytes.Cut(after, []byte("\n"))
	return strconv.ParseFloat(string(number), 64)
}

// profiled runs work and keeps a CPU profile of its first seconds in file, unless that is empty.
func (p *process) profiled(file string, seconds time.Duration, work func() error) error {
	if file == "" {
		return work()
	}
	saved := make(chan error, 1)
	go func() { saved <- p.save(file, seconds) }()
	return errors.Join(work(), <-saved)
}

func (p *process) save(file string, seconds time.Duration) error {
	resp, err := http.Get(fmt.Sprintf("http://127.0.0.1:%s/debug/pprof/profile?seconds=%d", p.ports.Pprof, max(1, int(seconds.Seconds()))))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, resp.Body)
	return errors.Join(err, f.Close())
}
