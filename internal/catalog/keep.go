package catalog

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// Canonical is the catalogue as one JSON file, packed with gzip, whose version is the same.
func (c *Catalog) Canonical() ([]byte, error) {
	text, err := json.Marshal(c.doc)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write(text); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// Keep writes the catalogue into a folder as VERSION.json.gz, unless it is there. The file is durable when Keep returns.
func (c *Catalog) Keep(dir string) error {
	if kept, err := kept(dir, c.Version); err == nil && kept.Version == c.Version {
		return nil
	}
	text, err := c.Canonical()
	if err != nil {
		return err
	}
	return writeDurably(dir, c.Version+".json.gz", text)
}

func kept(dir, version string) (*Catalog, error) {
	return Load(filepath.Join(dir, version+".json.gz"))
}

// Remember notes in a folder of kept versions that this one is in force for a path. The note is durable when Remember returns.
func (c *Catalog) Remember(dir, path string) error {
	name, err := noteOf(path)
	if err != nil {
		return err
	}
	if text, err := os.ReadFile(filepath.Join(dir, name)); err == nil && string(text) == c.Version+"\n" {
		return nil
	}
	return writeDurably(dir, name, []byte(c.Version+"\n"))
}

// Recall loads the version that was last remembered for a path.
func Recall(dir, path string) (*Catalog, error) {
	name, err := noteOf(path)
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return nil, err
	}
	version := strings.TrimSpace(string(text))
	c, err := kept(dir, version)
	if err == nil && c.Version != version {
		err = fmt.Errorf("%s holds the catalogue %s under the name of %s", dir, c.Version, version)
	}
	return c, err
}

// noteOf is the name of the note for a path.
func noteOf(path string) (string, error) {
	path, err := filepath.Abs(path)
	sum := sha256.Sum256([]byte(path))
	return "in-force-" + hex.EncodeToString(sum[:8]), err
}

// writeDurably writes a file whole or not at all.
func writeDurably(dir, name string, text []byte) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, ".catalog-*")
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	err = errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), filepath.Join(dir, name))
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return syncFolder(dir)
}

func syncFolder(dir string) error {
	if runtime.GOOS == "windows" {
		return nil // a folder can't be synced there
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
