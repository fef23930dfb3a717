#!/bin/sh
# Checks what outside linters know: the code with vet and staticcheck, the
# OpenAPI documents with two linters of their own. It installs what it needs and
# is not part of the tests.
set -eu
cd "$(dirname "$0")/../.."

bin=$(mktemp -d)
trap 'rm -rf "$bin"' EXIT
go build -C internal/lint -o "$bin/staticcheck" honnef.co/go/tools/cmd/staticcheck

go vet ./...
"$bin/staticcheck" ./...
internal/lint/openapi.sh
