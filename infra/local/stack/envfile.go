package stack

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// An environment file holds NAME='value' lines that a shell can read too:
//
//	set -a; . data/run.env; set +a
type environment map[string]string

// list gives the "NAME=value" form that processes take, sorted.
func (e environment) list() []string {
	all := make([]string, 0, len(e))
	for _, name := range slices.Sorted(maps.Keys(e)) {
		all = append(all, name+"="+e[name])
	}
	return all
}

// merge adds others, whose values win, without empty ones.
func (e environment) merge(others ...environment) environment {
	all := maps.Clone(e)
	for _, o := range others {
		maps.Copy(all, o)
	}
	maps.DeleteFunc(all, func(_, value string) bool { return value == "" })
	return all
}

// write replaces file, readable by its owner only, as a whole or not at all.
func (e environment) write(file, comment string) error {
	var b bytes.Buffer
	fmt.Fprintf(&b, "# %s\n", comment)
	for _, name := range slices.Sorted(maps.Keys(e)) {
		fmt.Fprintf(&b, "%s='%s'\n", name, strings.ReplaceAll(e[name], "'", `'\''`))
	}
	f, err := os.CreateTemp(filepath.Dir(file), filepath.Base(file)+".*") // made 0600
	if err != nil {
		return fmt.Errorf("write %s: %w", file, err)
	}
	_, err = f.Write(b.Bytes())
	if err == nil {
		err = f.Sync()
	}
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = os.Rename(f.Name(), file)
	}
	if err != nil {
		_ = os.Remove(f.Name()) // what failed is reported
		return fmt.Errorf("write %s: %w", file, err)
	}
	return nil
}

// readEnvironment reads what write wrote. Its errors quote no value.
func readEnvironment(file string) (environment, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read environment file: %w", err)
	}
	e := environment{}
	rest := string(text)
	for n := 1; rest != ""; n++ {
		if rest[0] == '#' || rest[0] == '\n' {
			_, rest, _ = strings.Cut(rest, "\n")
			continue
		}
		name, value, ok := strings.Cut(rest, "='")
		if !ok || strings.ContainsAny(name, "\n'") {
			return nil, fmt.Errorf("read environment file %s: entry %d is not NAME='value'", file, n)
		}
		text, after, ok := unquote(value)
		if !ok {
			return nil, fmt.Errorf("read environment file %s: the value of %s has no end", file, name)
		}
		e[name], rest = text, after
	}
	return e, nil
}

// unquote reads up to the closing quote and the end of its line.
func unquote(s string) (value, rest string, ok bool) {
	for {
		part, after, found := strings.Cut(s, "'")
		if !found {
			return "", "", false
		}
		value += part
		if s, ok = strings.CutPrefix(after, `\''`); ok {
			value += "'"
			continue
		}
		rest, ok = strings.CutPrefix(after, "\n")
		return value, rest, ok
	}
}
