#!/bin/sh
# Checks OpenAPI documents with two linters, each with its recommended rules:
#
#	internal/lint/openapi.sh [document.json...]
#
# Without arguments: the golden document of rest/openapi and every committed
# openapi.json. Errors and warnings both fail. The linters are installed into
# $OPENAPI_LINT_DIR, or a temporary directory that is removed.
set -eu
cd "$(dirname "$0")/../.."

if [ $# -eq 0 ]; then
	set -- rest/openapi/testdata/library.json $(git ls-files | grep 'openapi\.json$' || true)
fi

dir=${OPENAPI_LINT_DIR:-}
if [ -z "$dir" ]; then
	dir=$(mktemp -d)
	trap 'rm -rf "$dir"' EXIT
fi
if [ ! -x "$dir/node_modules/.bin/redocly" ] || [ ! -x "$dir/node_modules/.bin/spectral" ]; then
	npm install --prefix "$dir" --no-audit --no-fund --silent @redocly/cli@2 @stoplight/spectral-cli@6
fi
echo 'extends: ["spectral:oas"]' >"$dir/spectral.yaml"
printf 'extends: [recommended]\n' >"$dir/redocly.yaml"

export REDOCLY_TELEMETRY=off REDOCLY_SUPPRESS_UPDATE_NOTICE=true
"$dir/node_modules/.bin/redocly" lint --config "$dir/redocly.yaml" --max-problems 100 "$@"
"$dir/node_modules/.bin/spectral" lint --ruleset "$dir/spectral.yaml" --fail-severity warn "$@"
