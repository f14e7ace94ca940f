// Package postgres starts an instance of PostgreSQL of its own, on a socket in its folder, as somebody who is not root.
package postgres

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// Instance is a server that runs.
type Instance struct {
	bin, dir string
	as       *syscall.SysProcAttr
}

// Find is the folder of the newest PostgreSQL.
func Find() (string, error) {
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
	return "", errors.New("initdb, pg_ctl, psql and postgres are not together in PATH or /usr/lib/postgresql")
}

func (p *Instance) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(p.bin, name), args...)
	cmd.Dir, cmd.SysProcAttr = p.dir, p.as
	cmd.Env = append(os.Environ(), "LC_ALL=C", "PGHOST="+p.dir, "PGDATABASE=postgres", "PGUSER=bench", "HOME="+p.dir)
	return cmd
}

// Run runs one of its programs, psql say, as its owner.
func (p *Instance) Run(name string, args ...string) error {
	if out, err := p.command(name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", name, err, out)
	}
	return nil
}

// Start makes an instance in dir, an empty folder whose parents anybody may enter, with the programs in bin.
func Start(bin, dir string) (*Instance, error) {
	p := &Instance{bin: bin, dir: dir}
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
	}
	data := filepath.Join(dir, "data")
	if err := p.Run("initdb", "-D", data, "-U", "bench", "-A", "trust", "-E", "UTF8", "--no-sync"); err != nil {
		return nil, err
	}
	return p, p.Run("pg_ctl", "-D", data, "-w", "-l", filepath.Join(dir, "log"), "-o",
		"-c listen_addresses= -c unix_socket_directories="+dir+" -c shared_buffers=1GB -c max_wal_size=8GB -c wal_compression=lz4 -c checkpoint_timeout=30min", "start")
}

// Stop ends it.
func (p *Instance) Stop() error {
	return p.Run("pg_ctl", "-D", filepath.Join(p.dir, "data"), "-w", "-m", "fast", "stop")
}

// PID is the server's process, as text.
func (p *Instance) PID() (string, error) {
	text, err := os.ReadFile(filepath.Join(p.dir, "data", "postmaster.pid"))
	pid, _, _ := strings.Cut(string(text), "\n")
	return pid, err
}
