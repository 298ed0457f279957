#!/bin/sh
# After the files are there. dpkg says "configure" and the version before, if any;
# rpm says 1 for an installation and 2 for an upgrade.
set -e

case "$1" in
	configure | 1 | 2) ;;
	*) exit 0 ;;
esac

systemd-sysusers /usr/lib/sysusers.d/cloudsession.conf

# Without a running systemd (an image being built) there is nothing to tell.
if [ -d /run/systemd/system ]; then
	systemctl daemon-reload
	# Only what ran before an upgrade runs again: nothing starts by itself. While TiDB
	# is away the start goes on for as long, and a configuration that the new version
	# refuses ends it: neither keeps the package manager, nor fails the upgrade.
	timeout 120 systemctl try-restart cloudsession-connector.service ||
		echo 'cloudsession-connector has not come up: systemctl status cloudsession-connector' >&2
fi

if [ ! -e /etc/cloudsession/connector.env ]; then
	cat <<-'TEXT'
	cloudsession-connector is installed, and not configured yet:
	  cp /usr/share/cloudsession/connector.env /etc/cloudsession/
	  put each secret in a file of its name in /etc/cloudsession/credentials
	  systemctl enable --now cloudsession-connector
	TEXT
fi
