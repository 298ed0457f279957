package baileys

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
)

// folderValues reads a folder's files as JSON values that don't depend on how
// bytes are encoded. Times that a session record makes up are left out.
func folderValues(t *testing.T, dir string) map[string]any {
	t.Helper()
	entries, err := os.ReadDir(dir)
	must(t, err)
	all := map[string]any{}
	for _, e := range entries {
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		must(t, err)
		kind, _, _ := splitName(e.Name())
		all[e.Name()] = fileValue(t, kind, data)
	}
	return all
}

func fileValue(t *testing.T, kind string, data []byte) any {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	var v any
	must(t, d.Decode(&v))
	if kind == kindSenderKey {
		text, err := base64.StdEncoding.DecodeString(v.(map[string]any)["data"].(string))
		must(t, err)
		return fileValue(t, "", text)
	}
	return canonical(v)
}

// canonical makes a hexadecimal text of every Buffer and drops made-up times.
func canonical(v any) any {
	switch v := v.(type) {
	case map[string]any:
		if v["type"] == "Buffer" {
			var b bytesIn
			text, err := json.Marshal(v)
			if err == nil && json.Unmarshal(text, &b) == nil {
				return base64.StdEncoding.EncodeToString(b)
			}
		}
		for name, value := range v {
			v[name] = canonical(value)
		}
		if v["baseKey"] != nil && v["closed"] != nil {
			delete(v, "used")
			delete(v, "created")
			if n, _ := v["closed"].(json.Number); n != "-1" {
				v["closed"] = "closed"
			}
		}
	case []any:
		for i := range v {
			v[i] = canonical(v[i])
		}
	}
	return v
}
