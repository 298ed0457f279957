//go:build interop

package interop

import (
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// makePackage makes the packages of a version and puts them into a folder, beside
// those of others.
func makePackage(t *testing.T, build, version string) {
	t.Helper()
	made := t.TempDir()
	cmd := exec.CommandContext(t.Context(), "make", "package", "PACKAGE_VERSION="+version, "PACKAGES="+made)
	cmd.Dir = repository(t)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("make package: %v\n%s", err, out)
	}
	packages, err := filepath.Glob(filepath.Join(made, "cloudsession-connector*"))
	if err != nil || len(packages) == 0 {
		t.Fatalf("made %v, %v", packages, err)
	}
	for _, p := range packages {
		if err := os.Rename(p, filepath.Join(build, filepath.Base(p))); err != nil {
			t.Fatal(err)
		}
	}
}

// systemctlLog puts a systemctl in front of the real one that notes what it is
// asked: the maintainer scripts believe that systemd runs, and the test sees what
// they tell it.
const systemctlLog = `mkdir -p /run/systemd/system
printf '#!/bin/sh\necho "$*" >> /run/asked\n' > /usr/local/bin/systemctl
chmod 0755 /usr/local/bin/systemctl
: > /run/asked`

// asked is what the maintainer scripts have told systemd since the last time.
func (s *sandbox) asked() string {
	s.t.Helper()
	return s.run("cat /run/asked; : > /run/asked")
}

const (
	afterInstall = "daemon-reload\ntry-restart cloudsession-connector.service"
	afterRemoval = "--no-reload disable --now cloudsession-connector.service\ndaemon-reload"
	// configure does what the package says is to be done, and leaves a session's file.
	configure = `cp /usr/share/cloudsession/connector.env /etc/cloudsession/
printf '%064d\n' 7 | install -m 0600 /dev/stdin /etc/cloudsession/credentials/SESSION_ENCRYPTION_SECRET
install -d -m 0700 -o cloudsession -g cloudsession /var/lib/cloudsession
echo state | install -m 0600 -o cloudsession -g cloudsession /dev/stdin /var/lib/cloudsession/session`
	// kept lists what must outlive everything but a purge.
	kept = `cat /var/lib/cloudsession/session
find /etc/cloudsession /var/lib/cloudsession -type f -printf '%p %u %m\n' | sort`
)

// TestDeb installs, upgrades, takes back, removes and purges the package with the
// real dpkg, and looks at what each leaves behind.
func TestDeb(t *testing.T) {
	need(t, "dpkg", "this test needs Debian or one of its children")
	build := t.TempDir()
	makePackage(t, build, "1.0.0")
	makePackage(t, build, "1.0.0+2.gabcdef0")
	s := newSandbox(t, build)
	s.run(systemctlLog)
	s.checkInstallation(t, "1.0.0")
	s.run(configure)
	before := s.run(kept)
	// The example is a whole configuration; all that is missing is a connector that runs.
	if out, code := s.try("cloudsession sessions"); code == 0 || !strings.Contains(out, "no connector is running") {
		t.Errorf("cloudsession sessions: %d %s", code, out)
	}
	for _, version := range []string{"1.0.0+2.gabcdef0", "1.0.0"} { // there, and back again
		if out := s.run("dpkg --install " + debFile(version)); strings.Contains(out, "not configured yet") {
			t.Errorf("the upgrade to %s forgot that it is configured:\n%s", version, out)
		}
		if got := s.asked(); got != afterInstall {
			t.Errorf("the upgrade to %s told systemd:\n%s", version, got)
		}
		s.is(version, "cloudsession version")
		s.is(before, kept)
	}

	// A service that doesn't come up again does not fail the upgrade.
	s.run(`cp /usr/local/bin/systemctl /run/works && sed -i 's/^echo.*/&; [ "$1" != try-restart ]/' /usr/local/bin/systemctl`)
	if out := s.run("dpkg --install " + debFile("1.0.0") + " 2>&1"); !strings.Contains(out, "has not come up") {
		t.Errorf("a failed restart was not told:\n%s", out)
	}
	s.run("cp /run/works /usr/local/bin/systemctl; : > /run/asked")

	s.run("dpkg --remove cloudsession-connector")
	if got := s.asked(); got != afterRemoval {
		t.Errorf("the removal told systemd:\n%s", got)
	}
	s.is(before, kept)
	s.is("", "ls -d /usr/lib/cloudsession /usr/bin/cloudsession /usr/lib/systemd/system/cloudsession* 2>/dev/null || true")

	s.run("dpkg --install " + debFile("1.0.0"))
	s.is(before, kept)
	s.run("dpkg --purge cloudsession-connector")
	s.is("", "ls -d /var/lib/cloudsession /etc/cloudsession /usr/share/cloudsession 2>/dev/null || true")
}

func debFile(version string) string {
	return fmt.Sprintf("/mnt/cloudsession-connector_%s_%s.deb", version, runtime.GOARCH)
}

// checkInstallation installs the package where it never was.
func (s *sandbox) checkInstallation(t *testing.T, version string) {
	t.Helper()
	if out := s.run("dpkg --install " + debFile(version)); !strings.Contains(out, "not configured yet") {
		t.Errorf("the installation does not say what to do next:\n%s", out)
	}
	if got := s.asked(); got != afterInstall {
		t.Errorf("the installation told systemd:\n%s", got)
	}
	s.is(version, "cloudsession version")
	s.is("root:root 755\nroot:root 700\nroot:root 755\nroot:root 644", `stat -c '%U:%G %a' /etc/cloudsession \
		/etc/cloudsession/credentials /usr/lib/cloudsession/connector /usr/lib/systemd/system/cloudsession-connector.service`)
	s.is("/var/lib/cloudsession:/usr/sbin/nologin", "getent passwd cloudsession | cut -d: -f6,7")
	// What is linked in has licences of its own, whose texts go along.
	s.is("2", `grep -cE '^(go.mau.fi/(libsignal|whatsmeow) )' /usr/share/doc/cloudsession-connector/copyright`)
	s.is("1", "grep -c 'GNU GENERAL PUBLIC LICENSE$' /usr/share/doc/cloudsession-connector/copyright")
	s.is("", "systemd-analyze verify --man=no cloudsession-connector.service 2>&1")
	if out, code := s.try("cloudsession run"); code == 0 || !strings.Contains(out, "systemctl start") {
		t.Errorf("cloudsession run: %d %s", code, out)
	}
}

// TestDebWithoutSystemd installs and removes the package where no systemd runs, as
// in an image that is being built.
func TestDebWithoutSystemd(t *testing.T) {
	need(t, "dpkg", "this test needs Debian or one of its children")
	build := t.TempDir()
	makePackage(t, build, "1.0.0")
	s := newSandbox(t, build)
	const enabled = "/etc/systemd/system/multi-user.target.wants/cloudsession-connector.service"
	s.run("dpkg --install " + debFile("1.0.0"))
	s.run("! test -L " + enabled)
	s.run("systemctl enable cloudsession-connector.service")
	s.run("dpkg --install " + debFile("1.0.0"))
	s.run("test -L " + enabled)
	s.run("dpkg --purge cloudsession-connector")
	s.run("! test -L " + enabled)
}

// TestPackagesAreReproducible: two runs of make package on one commit make the same
// bytes, for both machines.
func TestPackagesAreReproducible(t *testing.T) {
	var made [2]string
	for i := range made {
		build := t.TempDir()
		makePackage(t, build, "1.0.0")
		names, err := filepath.Glob(filepath.Join(build, "cloudsession-connector*"))
		if err != nil {
			t.Fatal(err)
		}
		if len(names) != 4 {
			t.Fatalf("made %v", names)
		}
		for _, name := range names {
			data, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			made[i] += fmt.Sprintf("%s %x\n", filepath.Base(name), sha256.Sum256(data))
		}
	}
	if made[0] != made[1] {
		t.Errorf("made\n%s\nand then\n%s", made[0], made[1])
	}
}

// TestPackageVersions makes a history in git and lets dpkg compare the versions.
func TestPackageVersions(t *testing.T) {
	dpkg := need(t, "dpkg", "this test needs Debian or one of its children")
	script := filepath.Join(repository(t), "infra", "packaging", "version.sh")
	dir := t.TempDir()
	do := func(program string, args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), program, args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@localhost",
			"GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@localhost")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s %v: %v\n%s", program, args, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	do("git", "init", "-q")
	last := ""
	for _, c := range []struct{ tag, want string }{
		{"", "0.0.0+1.g"},
		{"", "0.0.0+2.g"},
		{"v1.0.0-rc.1", "1.0.0~rc.1"},
		{"v1.0.0", "1.0.0"},
		{"", "1.0.0+1.g"},
		{"", "1.0.0+2.g"},
		{"v1.0.1", "1.0.1"},
		{"v1.1.0-rc.1", "1.1.0~rc.1"},
		{"", "1.1.0~rc.1+1.g"},
		{"v1.1.0", "1.1.0"},
	} {
		do("git", "commit", "-q", "--allow-empty", "-m", "x")
		if c.tag != "" {
			do("git", "tag", c.tag)
		}
		version := do(script)
		if !strings.HasPrefix(version, c.want) {
			t.Errorf("version %s, want %s…", version, c.want)
		}
		if last != "" {
			do(dpkg, "--compare-versions", last, "lt", version)
		}
		last = version
	}
	if err := os.WriteFile(filepath.Join(dir, "file"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	do("git", "add", "file")
	if got := do(script); got != "1.1.0+dirty" {
		t.Errorf("with changes: %s", got)
	}
}
