#!/bin/sh
# Runs every test. What this machine cannot do is left out and named at the
# end; ARGOSY_TEST_REQUIRE (names separated by commas) turns that into a failure.
set -eu
cd "$(dirname "$0")"

left_out=""
leave_out() { # name, why
	case ",${ARGOSY_TEST_REQUIRE:-}," in *",$1,"*)
		echo "test: $1 is required (ARGOSY_TEST_REQUIRE), but $2" >&2
		exit 1
		;;
	esac
	left_out="$left_out
  $1: $2"
}

race=""
if CGO_ENABLED=1 go env CC >/dev/null && command -v "$(go env CC)" >/dev/null 2>&1; then
	race="-race"
	export CGO_ENABLED=1
else
	leave_out race "there is no C compiler, which the race detector needs"
fi

if [ -z "${ARGOSY_TEST_POSTGRES_URL:-}" ] && ! command -v initdb >/dev/null && ! ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1; then
	leave_out postgres "ARGOSY_TEST_POSTGRES_URL is not set and there is no initdb"
fi

if ! command -v curl >/dev/null 2>&1; then
	leave_out curl "there is no curl, which the lines of the README need"
fi

node=""
if ! command -v node >/dev/null 2>&1 || ! command -v npm >/dev/null 2>&1; then
	leave_out node "there is no node and npm, which the client in docs/guide/clients/node needs"
	node="-skip Node"
fi

root() { [ "$(id -u)" = 0 ]; }

if ! root || ! command -v ip >/dev/null 2>&1 || ! command -v iptables >/dev/null 2>&1; then
	leave_out netns "network namespaces need root, iproute2 and iptables: nothing is partitioned"
fi

if ! root || ! [ -e /dev/fuse ]; then
	leave_out powercut "a disk that can be unplugged needs root and /dev/fuse: no plug is pulled"
fi

unformatted=$(gofmt -l $(git ls-files '*.go'))
if [ -n "$unformatted" ]; then
	echo "test: gofmt would change: $unformatted" >&2
	exit 1
fi

go vet ./...
go vet -tags mutant ./...
go test $race -timeout 25m ./...
go test -C internal/generate ./...
go vet -C docs/guide/handlers ./...
go test -C docs/guide/handlers ./...
go vet -C docs/guide/clients ./...
go test -C docs/guide/clients $node ./...
go vet -C bench ./...
go test -C bench ./...
go run -C internal/generate . -check

if [ -n "$left_out" ]; then
	printf '\n*** LEFT OUT on this machine:%s\n' "$left_out"
fi
