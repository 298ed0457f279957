package api

import _ "embed"

//go:embed openapi.yaml
var openAPI []byte

// OpenAPI is the description of this API, OpenAPI 3.0 in YAML.
func OpenAPI() []byte { return openAPI }
