#!/bin/sh
# Prints the packages' version, from the folder's git repository. dpkg and rpm sort
# what it prints in the order in which it was made:
#
#   v1.2.3               1.2.3
#   4 commits after it   1.2.3+4.g0abc123
#   before any tag       0.0.0+57.g0abc123
#
# Changes that are not committed add ".dirty".
set -eu

if described=$(git describe --tags --long --match 'v[0-9]*' 2>/dev/null); then
	hash=${described##*-}
	rest=${described%-*}
	count=${rest##*-}
	tag=${rest%-*}
	version=${tag#v}
	[ "$count" = 0 ] || version=$version+$count.$hash
else
	version=0.0.0+$(git rev-list --count HEAD).g$(git rev-parse --short HEAD)
fi
# A pre-release (1.2.3-rc.1) comes before its release: that is ~ to both.
version=$(printf %s "$version" | tr - '~')
[ -z "$(git status --porcelain --untracked-files=no)" ] || case $version in
	*+*) version=$version.dirty ;;
	*) version=$version+dirty ;;
esac
printf '%s\n' "$version"
