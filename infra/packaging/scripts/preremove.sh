#!/bin/sh
# Before the files go. dpkg says "remove", or "upgrade" when others follow; rpm
# says 0 for a removal and 1 for an upgrade, during which the service runs on.
set -e

case "$1" in
	remove | 0) ;;
	*) exit 0 ;;
esac

if [ -d /run/systemd/system ]; then
	systemctl --no-reload disable --now cloudsession-connector.service
else
	systemctl --no-reload disable cloudsession-connector.service
fi
