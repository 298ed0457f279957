//go:build interop

package interop

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cloudsession/connector/watest"
	"cloudsession/infra/local/rig"
)

const unitName = "cloudsession-connector.service"

// TestUnitSecurity: systemd's own judgement of the sandboxing, 0 to 10, is 2.0 or
// better. That the unit is correct is checked where its program is installed, in
// TestDeb.
func TestUnitSecurity(t *testing.T) {
	analyze := need(t, "systemd-analyze", "apt-get install systemd")
	unit := filepath.Join(repository(t), "infra", "systemd", unitName)
	out, err := exec.CommandContext(t.Context(), analyze, "security", "--no-pager", "--offline=true", "--threshold=20", unit).CombinedOutput()
	if err != nil {
		t.Errorf("systemd-analyze security: %v\n%s", err, out)
	}
	if !strings.Contains(string(out), "Overall exposure level for "+unitName) {
		t.Errorf("systemd-analyze security says nothing about the unit:\n%s", out)
	}
}

// bootScript makes the sandbox's process 1 systemd. It sees the sandbox's files, a
// control group of its own, and the network of this machine. What a whole machine
// would start is taken out, and kernel settings are read-only: they are this
// machine's, too. The sandbox's commands go to a new shell.
const bootScript = `set -eu
if [ $# = 0 ]; then
	for kind in $GROUP_KINDS; do
		mkdir /run/groups
		mount $(echo "$kind" | tr + " ") cgroup /run/groups
		mkdir "/run/groups/$GROUP"
		echo $$ > "/run/groups/$GROUP/cgroup.procs"
		umount /run/groups
		rmdir /run/groups
	done
	exec unshare --cgroup /bin/sh /mnt/boot inside
fi
rm -rf /usr/lib/systemd/system-generators /usr/lib/systemd/system/*.target.wants /etc/systemd/system/*
mount --bind /proc/sys /proc/sys
mount -o remount,bind,ro /proc/sys
mount -t sysfs -o ro sysfs /sys
if [ "$GROUP_PATH" != /sys/fs/cgroup ]; then
	mount -t tmpfs tmpfs /sys/fs/cgroup
	mkdir "$GROUP_PATH"
fi
mount $(echo "${GROUP_KINDS%% *}" | tr + " ") cgroup "$GROUP_PATH"
mkdir /run/devices
mount --bind /dev /run/devices
mount -t tmpfs tmpfs /dev
for d in null zero full random urandom tty; do
	touch /dev/$d
	mount --bind /run/devices/$d /dev/$d
done
umount -l /run/devices
mkdir /dev/shm /dev/pts
ln -s pts/ptmx /dev/ptmx
mount --make-rshared / # systemd mounts credentials in a helper, and expects to see them
exec 3<&0
printf '\n--- ended with 0\n' # nothing is sent before this shell stops reading
/bin/sh <&3 &
exec env -i container=sandbox PATH=/usr/sbin:/usr/bin:/sbin:/bin \
	/lib/systemd/systemd --system --unit=basic.target --log-target=null --show-status=no 3<&- < /dev/null
`

// bootSystemd opens a sandbox in which systemd runs. shared is its /mnt.
func bootSystemd(t *testing.T, shared string) *sandbox {
	t.Helper()
	need(t, "systemctl", "apt-get install systemd")
	must(t, os.WriteFile(filepath.Join(shared, "boot"), []byte(bootScript), 0o600))
	// Of every hierarchy: how it is mounted. The first one is systemd's own.
	path, kinds := "/sys/fs/cgroup/systemd", []string{"-tcgroup+-onone,name=systemd"}
	folders := []string{path}
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err == nil {
		path, kinds = "/sys/fs/cgroup", []string{"-tcgroup2"}
		folders = []string{path}
	} else {
		for _, controller := range []string{"memory", "pids", "devices", "blkio", "cpu", "cpuacct", "freezer"} {
			folder := "/sys/fs/cgroup/" + controller
			if info, err := os.Lstat(folder); err == nil && info.IsDir() {
				kinds, folders = append(kinds, "-tcgroup+-o"+controller), append(folders, folder)
			}
		}
	}
	if info, err := os.Lstat("/sys/fs/cgroup/unified"); err == nil && info.IsDir() {
		kinds, folders = append(kinds, "-tcgroup2"), append(folders, "/sys/fs/cgroup/unified")
	}
	group := fmt.Sprintf("cloudsession-test-%d", os.Getpid())
	t.Cleanup(func() { // after the sandbox's end
		for _, folder := range folders {
			removeGroups(t, filepath.Join(folder, group))
		}
	})
	s := newSandbox(t, shared)
	fmt.Fprintf(s.in, "export GROUP=%s GROUP_PATH=%s GROUP_KINDS='%s'; exec /bin/sh /mnt/boot\n", group, path, strings.Join(kinds, " "))
	if out, _ := s.answer("boot"); out != "" {
		t.Fatalf("start systemd: %s", out)
	}
	s.until("systemctl show --property=Version >/dev/null 2>&1")
	return s
}

// removeGroups removes control groups, the innermost first, once their processes
// are gone.
func removeGroups(t *testing.T, top string) {
	deadline := time.Now().Add(2 * time.Minute)
	for {
		out, err := exec.Command("find", top, "-depth", "-type", "d", "-exec", "rmdir", "{}", ";").CombinedOutput()
		if _, gone := os.Stat(top); os.IsNotExist(gone) {
			return
		}
		if time.Now().After(deadline) {
			t.Errorf("control group %s stays: %v\n%s", top, err, out)
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// show is one property of the unit.
func (s *sandbox) show(property string) string {
	s.t.Helper()
	return s.run("systemctl show --value --property=" + property + " " + unitName)
}

// nextVersion is the same program as the one installed first.
const nextVersion = "1.0.0+2.gabcdef0"

// service is a session that moves into the packaged service.
type service struct {
	*sandbox
	ctx         context.Context
	owner, peer *watest.Phone
	session     string
}

// newService starts the system, pairs a session on a connector outside, and closes
// it; then installs and configures the package in a sandbox where systemd runs.
func newService(t *testing.T) *service {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	t.Cleanup(cancel)
	watest.SilenceSignal()
	dir, build := t.TempDir(), t.TempDir()
	world, err := rig.Start(ctx, rig.Options{Dir: filepath.Join(dir, "stack"), Out: io.Discard, Env: rig.Unhurried})
	must(t, err)
	t.Cleanup(func() { must(t, world.Close()) })
	v := &service{ctx: ctx, session: "toko"}
	v.owner, err = world.WhatsApp.NewPhone("628110000001", "Owner")
	must(t, err)
	v.peer, err = world.WhatsApp.NewPhone("628110000002", "Peer")
	must(t, err)
	c, err := world.StartConnector(ctx, "before", filepath.Join(dir, "c"))
	must(t, err)
	must(t, c.Pair(ctx, v.session, v.owner))
	must(t, c.Close(ctx, v.session))
	must(t, c.Stop(rig.StopTime))

	makePackage(t, build, "1.0.0")
	makePackage(t, build, nextVersion)
	v.sandbox = bootSystemd(t, build)
	v.run("dpkg --install " + debFile("1.0.0"))
	v.configure(c.Env())
	return v
}

// configure writes a connector's environment where the package wants it.
func (v *service) configure(environment []string) {
	v.t.Helper()
	var b strings.Builder
	b.WriteString("umask 077; cd /etc/cloudsession\nprintf '' > connector.env\n")
	for _, e := range environment {
		name, value, _ := strings.Cut(e, "=")
		switch name {
		case "DATA_DIR", "HOME", "PATH", "JWT_SECRET", "CONNECTOR_ID":
		case "SESSION_ENCRYPTION_SECRET", "TIDB_PASSWORD":
			fmt.Fprintf(&b, "echo '%s' > credentials/%s\n", value, name)
		default:
			fmt.Fprintf(&b, "printf '%%s\\n' \"%s='%s'\" >> connector.env\n", name, value)
		}
	}
	b.WriteString("echo CONNECTOR_ID=service >> connector.env\n")
	// No journal runs here: the log goes to a file instead.
	b.WriteString("mkdir -p /etc/systemd/system/" + unitName + ".d\n")
	b.WriteString("printf '[Service]\\nStandardError=append:/run/connector.log\\n' > /etc/systemd/system/" + unitName + ".d/log.conf\n")
	b.WriteString("systemctl daemon-reload\n")
	v.run(b.String())
}

// talk sends a text to the peer and receives one, by the command line.
func (v *service) talk(n int) {
	v.t.Helper()
	there, back := fmt.Sprintf("there %d", n), fmt.Sprintf("back %d", n)
	v.run(fmt.Sprintf("cloudsession send %s %s '%s'", v.session, v.peer.PN(), there))
	_, err := v.peer.WaitText(v.ctx, there)
	must(v.t, err)
	_, err = v.peer.SendText(v.ctx, v.owner.PN(), back)
	must(v.t, err)
	v.until(fmt.Sprintf("runuser -u cloudsession -- cloudsession messages %s | grep -F '%s'", v.session, back))
}

// TestService runs the packaged connector under real systemd, as the unit has it:
// system-call filter, read-only machine, credentials, watchdog and all.
func TestService(t *testing.T) {
	v := newService(t)
	v.is("inactive", "systemctl is-active "+unitName+" || true") // the installation started nothing

	if out, code := v.try("systemctl start " + unitName); code != 0 { // ends when the connector has said READY=1
		status, _ := v.try("cat /run/connector.log; systemctl show " + unitName + " | grep -E '^(Exec|Result|Status|Active|Sub|NRes)'")
		t.Fatalf("the service does not start: %s\n%s", out, status)
	}
	for property, want := range map[string]string{
		"ActiveState": "active", "StatusText": "holding sessions", "Result": "success", "NRestarts": "0",
	} {
		if got := v.show(property); got != want {
			t.Errorf("%s is %q, want %q", property, got, want)
		}
	}
	v.is("cloudsession:cloudsession 700\ncloudsession:cloudsession 600",
		"stat -c '%U:%G %a' /var/lib/cloudsession /var/lib/cloudsession/connector.sock")
	v.checkConfinement(t)
	v.run("cloudsession open " + v.session)
	v.talk(1)
	v.checkUpgrade(t)
	v.talk(2)
	v.checkWatchdog(t)
	v.talk(3)
	v.checkStop(t)
}

// checkConfinement looks at the running process: what the unit asks for must have
// come to be.
func (v *service) checkConfinement(t *testing.T) {
	t.Helper()
	status := v.run("cat /proc/$(systemctl show --value --property=MainPID " + unitName + ")/status 2>/dev/null || cat /proc/*/status")
	for _, want := range []string{"NoNewPrivs:\t1", "Seccomp:\t2", "CapEff:\t0000000000000000", "CapBnd:\t0000000000000000"} {
		if !strings.Contains(status, want) {
			t.Errorf("the process has not %q:\n%s", want, status)
		}
	}
}

// checkUpgrade installs the next version over the running one: the package stops
// the service in order and starts it again, and the session comes back by itself.
func (v *service) checkUpgrade(t *testing.T) {
	t.Helper()
	before := v.show("MainPID")
	if out := v.run("dpkg --install " + debFile(nextVersion) + " 2>&1"); strings.Contains(out, "has not come up") {
		t.Errorf("the service did not survive the upgrade:\n%s", out)
	}
	for property, want := range map[string]string{"ActiveState": "active", "Result": "success", "NRestarts": "0"} {
		if got := v.show(property); got != want {
			t.Errorf("upgraded: %s is %q, want %q", property, got, want)
		}
	}
	if after := v.show("MainPID"); after == before || after == "0" {
		t.Errorf("after the upgrade the service's process is %s, before it was %s", after, before)
	}
	v.is("2", "grep -c 'msg=\"connector is running\"' /run/connector.log")
	v.is("1", "grep -c 'msg=\"connector is running\".* version="+nextVersion+"' /run/connector.log")
	v.is("1", "grep -c 'msg=\"connector has stopped\".* clean=true' /run/connector.log")
	v.until("cloudsession sessions | grep -w connected")
}

// checkWatchdog freezes the connector. systemd notices that the heartbeat is
// missing, ends it and starts it again, and the session goes on.
func (v *service) checkWatchdog(t *testing.T) {
	t.Helper()
	v.run("systemctl kill --signal=STOP " + unitName)
	v.until(`[ "$(systemctl show --value --property=NRestarts ` + unitName + `)" = 1 ] && systemctl is-active ` + unitName)
	v.until("cloudsession sessions | grep -w connected")
}

// checkStop stops the service, then breaks its configuration.
func (v *service) checkStop(t *testing.T) {
	t.Helper()
	v.run("systemctl stop " + unitName)
	for property, want := range map[string]string{"ActiveState": "inactive", "Result": "success", "ExecMainStatus": "0"} {
		if got := v.show(property); got != want {
			t.Errorf("stopped: %s is %q, want %q", property, got, want)
		}
	}
	v.run("echo TIDB_PORT=x >> /etc/cloudsession/connector.env")
	if _, code := v.try("systemctl start " + unitName); code == 0 {
		t.Error("a configuration that is wrong starts")
	}
	for property, want := range map[string]string{"ActiveState": "failed", "ExecMainStatus": "78", "NRestarts": "0"} {
		if got := v.show(property); got != want {
			t.Errorf("badly configured: %s is %q, want %q", property, got, want)
		}
	}
}
