package catalog

import _ "embed"

//go:generate sh -c "node ../../test/oracle/data.mjs | go run ./internal/generate -version 0.1.8 -date 2026-09-23 >builtin.tmp && mv builtin.tmp builtin.yaml"

// builtinText is the built-in catalogue: the rates of genai-prices, whose licence is in builtin.LICENSE.
//
//go:embed builtin.yaml
var builtinText []byte
