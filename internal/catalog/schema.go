package catalog

import _ "embed"

// Schema is the JSON Schema of a catalogue file, for editors. Load says more, and with line and column.
//
//go:embed catalog.schema.json
var Schema []byte
