#!/bin/sh
# Installs what the tests run on, where it is missing: RabbitMQ, PostgreSQL, Chromium,
# Node.js with npm.
# The tests start servers of their own, on free ports; none of the system's is used.
set -eu

missing=""
[ -n "$(command -v rabbitmq-server || ls /usr/lib/rabbitmq/lib/*/sbin/rabbitmq-server 2>/dev/null || true)" ] \
	|| missing="$missing rabbitmq-server"
[ -n "$(command -v postgres || ls /usr/lib/postgresql/*/bin/postgres 2>/dev/null || true)" ] \
	|| missing="$missing postgresql"
[ -n "$(command -v chromium || command -v chromium-browser || command -v google-chrome || ls -d '/Applications/Chromium.app' '/Applications/Google Chrome.app' 2>/dev/null || true)" ] \
	|| missing="$missing chromium"
[ -n "$(command -v node || true)" ] || missing="$missing nodejs"
[ -n "$(command -v npm || true)" ] || missing="$missing npm"
[ -n "$missing" ] || exit 0

if ! command -v apt-get >/dev/null; then
	echo "The tests need$missing. On macOS: brew install rabbitmq postgresql node && brew install --cask chromium" >&2
	exit 2
fi
if [ "$(id -u)" = 0 ]; then root=""
elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then root="sudo"
else
	echo "The tests need$missing. Install with: sudo apt-get install -y$missing" >&2
	exit 2
fi

echo "Installing$missing from the system's packages ..." >&2
# The packages must not start system-wide servers on the ports of this machine.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
	printf '#!/bin/sh\nexit 101\n' | $root tee "$policy" >/dev/null
	$root chmod +x "$policy"
	trap '$root rm -f "$policy"' EXIT
fi
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
# shellcheck disable=SC2086  # a list of packages
if ! { $root apt-get update && $root apt-get install -y --no-install-recommends $missing; } >"$log" 2>&1; then
	tail -20 "$log" >&2
	exit 1
fi
