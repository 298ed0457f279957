//go:build interop

package interop

import (
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// lastStage returns the instructions of a container file's last stage.
func lastStage(t *testing.T, path string) (from string, rest []string) {
	t.Helper()
	text, err := os.ReadFile(path)
	must(t, err)
	joined := strings.ReplaceAll(string(text), "\\\n", " ")
	for line := range strings.SplitSeq(joined, "\n") {
		word, args, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch {
		case word == "" || word[0] == '#':
		case word == "FROM":
			from, rest = args, nil
		default:
			rest = append(rest, word+" "+args)
		}
	}
	return from, rest
}

// TestContainerfile: what runs is the program, the authorities it trusts, and its
// folder, under a user that is not root; and the program the file builds needs
// nothing else. Building the image needs a container engine and is not tested.
func TestContainerfile(t *testing.T) {
	root := repository(t)
	path := filepath.Join(root, "infra", "packaging", "Containerfile")
	from, rest := lastStage(t, path)
	if from != "scratch" {
		t.Errorf("the image is based on %s", from)
	}
	stage := strings.Join(rest, "\n")
	for _, want := range []string{
		"COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt",
		"COPY --from=build /out/connector /connector", "COPY --from=build /out/copyright /copyright", "USER 65532:65532", `ENTRYPOINT ["/connector"]`, `CMD ["run"]`,
	} {
		if !strings.Contains(stage, want) {
			t.Errorf("the image lacks %s:\n%s", want, stage)
		}
	}
	if strings.Contains(stage, "RUN ") {
		t.Error("there is no shell in the image to run anything")
	}

	// What the file copies into the build is all that the program is made of.
	text, err := os.ReadFile(path)
	must(t, err)
	dir, program := t.TempDir(), filepath.Join(t.TempDir(), "connector")
	for _, m := range regexp.MustCompile(`(?m)^COPY ([^-\n].*) \S+$`).FindAllStringSubmatch(string(text), -1) {
		for name := range strings.FieldsSeq(m[1]) {
			cp := exec.CommandContext(t.Context(), "cp", "-r", "--parents", name, dir)
			cp.Dir = root
			if out, err := cp.CombinedOutput(); err != nil {
				t.Fatalf("copy %s: %v\n%s", name, err, out)
			}
		}
	}
	build := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", program, "./connector")
	build.Dir, build.Env = dir, append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=arm64")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build in %s: %v\n%s", dir, err, out)
	}
	licences := exec.CommandContext(t.Context(), "go", "run", "./infra/licences", "copyright", filepath.Join(dir, "copyright"))
	licences.Dir = dir
	if out, err := licences.CombinedOutput(); err != nil {
		t.Fatalf("write the licences in %s: %v\n%s", dir, err, out)
	}
	f, err := elf.Open(program)
	must(t, err)
	defer func() { must(t, f.Close()) }()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			t.Error("the program is not static: it asks for a loader")
		}
	}
	if libs, err := f.ImportedLibraries(); err != nil || len(libs) > 0 {
		t.Errorf("the program asks for %v (%v)", libs, err)
	}
}
