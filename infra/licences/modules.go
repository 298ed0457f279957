package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// program is what is shipped and from which packages it is built.
type program struct {
	name, packages string
	architectures  []string
}

var programs = []program{
	{"connector", "./connector", []string{"amd64", "arm64"}},
	{"functions", "./functions/...", []string{"amd64", "arm64"}},
}

// module is a module of which at least one package is linked into a program.
type module struct {
	Path, Version, Dir string
	programs           []string // by name, in the order of programs
	folders            []string // of its linked packages
	licences           []string // SPDX identifiers, sorted
	files              []licenceFile
}

// licenceFile is one licence or notice, as it stands in the module.
type licenceFile struct {
	name     string // below the module's folder
	text     string
	licences []string // none for a notice
}

// linked finds the modules of the programs by `go list`, for the machines that
// packages are made for, with the tags that they are built with.
func linked(ctx context.Context, root string) ([]module, error) {
	found := map[string]*module{}
	for _, p := range programs {
		for _, arch := range p.architectures {
			if err := p.linked(ctx, root, arch, found); err != nil {
				return nil, fmt.Errorf("list the modules of %s: %w", p.name, err)
			}
		}
	}
	var all []module
	for _, m := range found {
		all = append(all, *m)
	}
	slices.SortFunc(all, func(a, b module) int { return cmp.Compare(a.Path, b.Path) })
	return all, nil
}

func (p program) linked(ctx context.Context, root, arch string, found map[string]*module) error {
	cmd := exec.CommandContext(ctx, "go", "list", "-deps", "-tags", "lambda.norpc", "-json=Dir,Module,Standard", p.packages) //nolint:gosec // G204: constants of this file
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch)
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("go list: %w: %s", err, bytes.TrimSpace(complaint.Bytes()))
	}
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var pkg struct {
			Dir    string
			Module *struct {
				Path, Version, Dir string
				Main               bool
				Replace            *struct{ Path string }
			}
		}
		if err := d.Decode(&pkg); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("read go list: %w", err)
		}
		if pkg.Module == nil || pkg.Module.Main {
			continue
		}
		if pkg.Module.Replace != nil {
			return fmt.Errorf("%s is replaced: teach this program to name what takes its place", pkg.Module.Path)
		}
		m := found[pkg.Module.Path]
		if m == nil {
			m = &module{Path: pkg.Module.Path, Version: pkg.Module.Version, Dir: pkg.Module.Dir}
			found[m.Path] = m
		}
		if !slices.Contains(m.programs, p.name) {
			m.programs = append(m.programs, p.name)
		}
		if !slices.Contains(m.folders, pkg.Dir) {
			m.folders = append(m.folders, pkg.Dir)
		}
	}
}

var licenceName = regexp.MustCompile(`(?i)^(licen[cs]e|copying|copyright|notice|patents)`)

// read reads the licence files that hold for the module's linked packages: those
// in their folders and in the folders above, up to the module's.
func (m *module) read() error {
	seen := map[string]bool{}
	for _, folder := range m.folders {
		for at := folder; !seen[at]; at = filepath.Dir(at) {
			seen[at] = true
			if err := m.readFolder(at); err != nil {
				return err
			}
			if at == m.Dir {
				break
			}
		}
	}
	slices.SortFunc(m.files, func(a, b licenceFile) int { return cmp.Compare(a.name, b.name) })
	for _, f := range m.files {
		m.licences = append(m.licences, f.licences...)
	}
	slices.Sort(m.licences)
	m.licences = slices.Compact(m.licences)
	return nil
}

func (m *module) readFolder(folder string) error {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return fmt.Errorf("look for licences of %s: %w", m.Path, err)
	}
	for _, e := range entries {
		if e.IsDir() || !licenceName.MatchString(e.Name()) || strings.HasSuffix(e.Name(), ".go") {
			continue
		}
		name, err := filepath.Rel(m.Dir, filepath.Join(folder, e.Name()))
		if err != nil {
			return fmt.Errorf("name a licence of %s: %w", m.Path, err)
		}
		text, err := os.ReadFile(filepath.Join(folder, e.Name()))
		if err != nil {
			return fmt.Errorf("read a licence of %s: %w", m.Path, err)
		}
		f := licenceFile{name: name, text: string(text), licences: identify(string(text))}
		if len(f.licences) == 0 && !notice(e.Name()) {
			return fmt.Errorf("%s %s: the licence in %s is not one that this program knows: read it, then see identify.go", m.Path, m.Version, name)
		}
		m.files = append(m.files, f)
	}
	return nil
}
