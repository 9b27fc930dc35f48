#!/usr/bin/env bash
# Interoperability: clients that others wrote, against the broker.
#
#   tests/interop/run.sh target/debug/tidelog
#
# Starts the broker with listeners for TCP, TLS with client certificates and WebSocket, runs every client, kills the broker
# with -9 in the middle and starts it again. Every case is one line, `ok NAME` or `not ok NAME: why`; the last line is
# `N passed, N failed, N skipped`. A client that is not installed is skipped, loudly; with CI=true it is a failure.
#
# INTEROP_PYTHON  a Python with paho-mqtt          (python3)
# INTEROP_NODE    a folder with node_modules/mqtt  (this one)
# INTEROP_PEER    `mosquitto` tests the tests against mosquitto instead
set -uo pipefail

here=$(cd "$(dirname "$0")" && pwd)
binary=$(realpath "${1:?usage: run.sh PATH-TO-TIDELOG}")
work=$(mktemp -d)
python=${INTEROP_PYTHON:-python3}
export NODE_MODULES=${INTEROP_NODE:-$here}/node_modules
export CERTS=$work/certs
broker=
results=$work/results
: >"$results"

finish() {
  [ -n "$broker" ] && kill -9 "$broker" 2>/dev/null
  rm -rf "$work"
}
trap finish EXIT

record() { # record LINE
  echo "$1" | tee -a "$results"
}

absent() { # absent CLIENT
  if [ "${CI:-}" = true ]; then
    record "not ok $1: it is not installed"
  else
    record "skip $1: IT IS NOT INSTALLED, so nothing is known about it"
  fi
}

configure() {
  cat >"$work/tidelog.toml" <<TOML
[data]
dir = "$work/data"

[[listener]]
name = "tcp"
kind = "tcp"
address = "127.0.0.1:0"

[[listener]]
name = "tls"
kind = "tls"
address = "127.0.0.1:0"
certificate = "$CERTS/server.pem"
key = "$CERTS/server-key.pem"
client_ca = "$CERTS/ca.pem"
client_certificate = "required"

[[listener]]
name = "websocket"
kind = "websocket"
address = "127.0.0.1:0"
TOML
}

configure_mosquitto() {
  cat >"$work/mosquitto.conf" <<CONF
user root
allow_anonymous true
persistence true
persistence_location $work/
listener 11883 127.0.0.1
listener 18883 127.0.0.1
cafile $CERTS/ca.pem
certfile $CERTS/server.pem
keyfile $CERTS/server-key.pem
require_certificate true
listener 19001 127.0.0.1
protocol websockets
CONF
}

# Waits until a file has a line like this: wait_for FILE PATTERN [COUNT].
wait_for() {
  # Whoever writes to it may not have come so far as to make it, and what is not there is not waited for.
  : >>"$1"
  timeout 20 grep -q -m "${3:-1}" -e "$2" < <(exec tail --pid=$$ -n +1 -f "$1" 2>/dev/null) ||
    { echo "nothing like '$2' came in $1" >&2; return 1; }
}

start_broker() {
  # What an earlier one said is kept, for a failure that is found later.
  [ ! -s "$work/broker.log" ] || mv "$work/broker.log" "$work/broker.log.before"
  : >"$work/broker.log"
  if [ "${INTEROP_PEER:-}" = mosquitto ]; then
    /usr/sbin/mosquitto -v -c "$work/mosquitto.conf" >>"$work/broker.log" 2>&1 &
    broker=$!
    wait_for "$work/broker.log" 'running$' || { cat "$work/broker.log"; exit 1; }
    export TCP_PORT=11883 TLS_PORT=18883 WS_PORT=19001
    return
  fi
  "$binary" serve --config "$work/tidelog.toml" >>"$work/broker.log" 2>&1 &
  broker=$!
  # The lines that say what listens where, in the order of the configuration.
  local ports=()
  while read -r port; do
    ports+=("$port")
    [ ${#ports[@]} -eq 3 ] && break
  done < <(timeout 60 tail -n +1 -f "$work/broker.log" | grep --line-buffered -oE '127\.0\.0\.1:[1-9][0-9]*' |
    grep --line-buffered -oE '[0-9]+$')
  if [ ${#ports[@]} -ne 3 ]; then
    echo "the broker did not start:"
    cat "$work/broker.log"
    exit 1
  fi
  export TCP_PORT=${ports[0]} TLS_PORT=${ports[1]} WS_PORT=${ports[2]}
}

kill_broker() {
  if [ "${INTEROP_PEER:-}" = mosquitto ]; then kill "$broker"; else kill -9 "$broker"; fi
  wait "$broker" 2>/dev/null
}

drive() { # drive NAME COMMAND...: runs a driver, whose lines are cases
  local name=$1
  shift
  local count
  count=$(wc -l <"$results")
  if ! timeout 300 "$@" | tee -a "$results"; then
    record "not ok $name: the driver itself failed"
  fi
  [ "$(wc -l <"$results")" -gt "$count" ] || record "not ok $name: the driver said nothing"
}

# shellcheck source=tests/interop/mosquitto.sh
source "$here/mosquitto.sh"

phase() { # phase open|run|resume
  if command -v mosquitto_sub >/dev/null && command -v mosquitto_pub >/dev/null; then
    "mosquitto_$1"
  elif [ "$1" = run ]; then
    absent mosquitto_pub/mosquitto_sub
  fi
  if "$python" -c 'import paho.mqtt.client' 2>/dev/null; then
    drive "paho $1" "$python" "$here/paho_driver.py" "$1"
  elif [ "$1" = run ]; then
    absent paho-mqtt
  fi
  if [ -d "$NODE_MODULES/mqtt" ] && command -v node >/dev/null; then
    drive "MQTT.js $1" node "$here/mqttjs_driver.js" "$1"
  elif [ "$1" = run ]; then
    absent MQTT.js
  fi
}

rumqttc() {
  command -v cargo >/dev/null || { absent rumqttc; return; }
  local output
  output=$(cd "$here/../.." && cargo test --quiet --test interop -- --test-threads 2 --format pretty 2>&1)
  echo "$output" | sed -n 's/^test \(.*\) \.\.\. ok$/ok rumqttc \1/p' | tee -a "$results"
  if ! echo "$output" | grep -q '^test result: ok\. [1-9]'; then
    echo "$output"
    record "not ok rumqttc: see above"
  fi
}

mkdir -p "$CERTS"
"$binary" certs --dir "$CERTS" --host localhost --host 127.0.0.1 --client device >/dev/null || exit 1
configure
configure_mosquitto
start_broker
phase run
phase open
kill_broker
start_broker
phase resume
rumqttc

passed=$(grep -c '^ok ' "$results")
failed=$(grep -c '^not ok ' "$results")
skipped=$(grep -c '^skip ' "$results")
if [ "$failed" -gt 0 ]; then
  echo "what the broker said, before the restart and after it:"
  tail -n 200 "$work/broker.log.before"
  tail -n 40 "$work/broker.log"
  grep '^not ok ' "$results"
fi
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
