package catalog

import (
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
)

// maxFile bounds a file of a catalogue, in bytes, when it is unpacked.
const maxFile = 64 << 20

// Load reads a catalogue: a file, or a folder of which every .yaml, .yml and .json file is a part, in the order of their names. A file
// may be packed (.gz). Errors are Problems, or those of reading.
func Load(path string) (*Catalog, error) {
	files, err := Files(path)
	if err != nil {
		return nil, err
	}
	texts := make(map[string][]byte, len(files))
	for _, file := range files {
		if texts[file], err = readFile(file); err != nil {
			return nil, err
		}
	}
	return parse(files, texts)
}

// Files are those that Load reads.
func Files(path string) ([]string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return []string{path}, nil
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, err
	}
	var files []string
	for _, e := range entries {
		name := strings.TrimSuffix(e.Name(), ".gz")
		if strings.HasPrefix(name, ".") || !slices.Contains([]string{".yaml", ".yml", ".json"}, filepath.Ext(name)) {
			continue
		}
		files = append(files, filepath.Join(path, e.Name()))
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("the folder %s holds no .yaml, .yml or .json file", path)
	}
	return files, nil
}

func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var r io.Reader = f
	if strings.HasSuffix(path, ".gz") {
		packed, err := gzip.NewReader(f)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		r = packed
	}
	text, err := io.ReadAll(io.LimitReader(r, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if len(text) > maxFile {
		return nil, fmt.Errorf("%s has more than %d bytes", path, maxFile)
	}
	return text, nil
}

// Parse compiles the text of one file. name is its name in errors.
func Parse(name string, text []byte) (*Catalog, error) {
	return parse([]string{name}, map[string][]byte{name: text})
}

func parse(files []string, texts map[string][]byte) (*Catalog, error) {
	doc := &Document{Catalog: FormatVersion, Builtin: true}
	var problems Problems
	for _, file := range files {
		part, err := Decode(file, texts[file])
		var wrong Problems
		if errors.As(err, &wrong) {
			problems = append(problems, wrong...)
			continue
		}
		if part.Base != nil && len(files) > 1 {
			problems.add(Position{File: file}, "has a base: such a catalogue is one file")
		}
		doc.merge(part)
	}
	if len(problems) > 0 {
		return nil, problems
	}
	if doc.Builtin && doc.Base == nil {
		builtin, err := builtinDocument()
		if err != nil {
			return nil, err
		}
		doc.Base = builtin
	}
	doc.Builtin = false
	return New(doc)
}

func (d *Document) merge(part *Document) {
	d.Builtin = d.Builtin && part.Builtin
	if part.Base != nil {
		d.Base = part.Base
	}
	d.Sources = append(d.Sources, part.Sources...)
	d.Providers = append(d.Providers, part.Providers...)
	d.Models = append(d.Models, part.Models...)
	d.Customers = append(d.Customers, part.Customers...)
	d.Rates = append(d.Rates, part.Rates...)
}

// New compiles a document, which must not be changed after.
func New(doc *Document) (*Catalog, error) {
	canonical, err := json.Marshal(doc)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(canonical)
	return compile(doc, hex.EncodeToString(sum[:8]))
}

// Document is what the catalogue was made of.
func (c *Catalog) Document() *Document { return c.doc }

// Rates are all rates, those of the catalogue itself first.
func (c *Catalog) Rates() []*Rate { return c.rates }

var builtin struct {
	once sync.Once
	doc  *Document
	err  error
}

func builtinDocument() (*Document, error) {
	builtin.once.Do(func() { builtin.doc, builtin.err = Decode("builtin.yaml", builtinText) })
	return builtin.doc, builtin.err
}

// Builtin is the built-in catalogue alone.
func Builtin() (*Catalog, error) {
	doc, err := builtinDocument()
	if err != nil {
		return nil, err
	}
	return New(&Document{Catalog: FormatVersion, Base: doc})
}
