#!/bin/sh
# The connector's command line, set up for the service of this machine:
#
#   sudo cloudsession sessions                        as root: every command
#   sudo -u cloudsession cloudsession send …          as the service's user: what goes over the local socket
set -eu

if [ "${1:-}" = run ]; then
	echo 'cloudsession: the service runs it: systemctl start cloudsession-connector' >&2
	exit 1
fi
if [ -r /etc/cloudsession/connector.env ]; then
	set -a
	. /etc/cloudsession/connector.env
	set +a
fi
export DATA_DIR="${DATA_DIR:-/var/lib/cloudsession}"
if [ -r /etc/cloudsession/credentials ]; then
	export CREDENTIALS_DIRECTORY="${CREDENTIALS_DIRECTORY:-/etc/cloudsession/credentials}"
fi
exec /usr/lib/cloudsession/connector "$@"
