#!/bin/sh
# After the files are gone. The sessions' files and the configuration stay, except
# when dpkg is told to purge. The user stays: a number that comes back for somebody
# else would give away what backups hold.
set -e

case "$1" in
	purge)
		rm -rf /var/lib/cloudsession /etc/cloudsession
		;;
	remove | 0) ;;
	*) exit 0 ;;
esac

if [ -d /run/systemd/system ]; then
	systemctl daemon-reload
fi
