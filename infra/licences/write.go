package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

const listHead = `# Third-party licences

What is linked into the programs that are shipped, for Linux on amd64 and arm64.
` + "`make licences`" + ` writes this file; a test fails when it is out of date or when a
licence comes in that nobody has looked at (infra/licences).

` + copyleftText + `
The licence texts themselves are in the packages' ` + "`/usr/share/doc/cloudsession-connector/copyright`" + `;
` + "`go run ./infra/licences copyright FILE`" + ` writes the same. Names are SPDX identifiers; a
module with several holds code under each of them.

| module | version | licence | linked into |
|---|---|---|---|
| Go's standard library | the toolchain's | BSD-3-Clause | connector, functions |
`

// copyleftText says what the licences ask of whoever passes a binary on. Facts:
// GPL-3.0 sections 5 and 6, MPL-2.0 section 3 (3.2, 3.3 and 1.12), and the licence
// files of the modules.
const copyleftText = `**The source of this project is under the MIT licence; a connector binary is not.**
The connector links whatsmeow, and whatsmeow needs ` + "`go.mau.fi/libsignal`" + `, whose licence
is the **GNU GPL, version 3**. Whoever passes a connector binary on (a package, a
container image, a machine image) has to do so under the GPL as a whole: with its text,
and with the complete corresponding source, or an offer of it, of the connector and of
every module in it. MIT, BSD, ISC, Apache-2.0 and MPL-2.0 all allow that. Running the
connector for oneself, or as a service to others, is not passing it on, and asks for
nothing.

whatsmeow, ` + "`go.mau.fi/util`" + ` and the MySQL driver are under the **MPL-2.0**: files of theirs
that were changed have to be offered in source. None is changed here.

The functions link neither whatsmeow nor libsignal; nothing in them is under the GPL.
This is what the licence files say, and no legal advice.
`

// list is LICENSES-THIRD-PARTY.md.
func list(modules []module) string {
	var b strings.Builder
	b.WriteString(listHead)
	for _, m := range modules {
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", m.Path, m.Version, strings.Join(m.licences, ", "), strings.Join(m.programs, ", "))
	}
	return b.String()
}

const copyrightHead = `Cloud Session Sync, the connector.

The project's own source is under the MIT licence (the first text below). This binary
also holds the modules listed with the texts after it. One of them,
go.mau.fi/libsignal, is under the GNU General Public License, version 3, so that the
binary as a whole is passed on under that licence, and with the complete corresponding
source: that of this project at the package's version, and of the modules at the
versions named below, as "go mod download" fetches them.
`

// copyright is the text of every licence in the connector, each once, under the
// names of those that it is for.
func copyright(ctx context.Context, root string, modules []module) ([]byte, error) {
	type section struct {
		of   []string
		text string
	}
	var sections []section
	add := func(of, text string) {
		text = strings.TrimSpace(strings.ReplaceAll(text, "\r\n", "\n"))
		if i := slices.IndexFunc(sections, func(s section) bool { return s.text == text }); i >= 0 {
			sections[i].of = append(sections[i].of, of)
			return
		}
		sections = append(sections, section{[]string{of}, text})
	}
	own, err := os.ReadFile(filepath.Join(root, "LICENSE"))
	if err != nil {
		return nil, fmt.Errorf("read the project's licence: %w", err)
	}
	add("Cloud Session Sync", string(own))
	standard, err := standardLibrary(ctx)
	if err != nil {
		return nil, err
	}
	add("Go's standard library", standard)
	for _, m := range modules {
		if !slices.Contains(m.programs, "connector") {
			continue
		}
		for _, f := range m.files {
			add(m.Path+" "+m.Version+", "+filepath.ToSlash(f.name), f.text)
		}
	}
	var b bytes.Buffer
	b.WriteString(copyrightHead)
	for _, s := range sections {
		fmt.Fprintf(&b, "\n%s\n%s\n\n%s\n", strings.Repeat("=", 78), strings.Join(s.of, "\n"), s.text)
	}
	return b.Bytes(), nil
}

// standardLibrary is the licence of Go itself, which is in every program. A Go from
// a distribution may have it elsewhere than beside its source.
func standardLibrary(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output()
	if err != nil {
		return "", fmt.Errorf("find Go's own folder: %w", err)
	}
	text, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(out)), "LICENSE"))
	if err != nil {
		return "", fmt.Errorf("read Go's licence: %w", err)
	}
	return string(text), nil
}
