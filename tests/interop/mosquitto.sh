#!/usr/bin/env bash
# The cases for mosquitto_pub and mosquitto_sub; sourced by run.sh, which has `record` and `wait_for`.
#
# Whoever has to be there before a message is published says so: with -E (ends once subscribed) or with -d, whose
# "Subscribed" is waited for. Nothing sleeps.

mosquitto_transport() { # the flags of a transport
  case $1 in
  tcp) echo "-h 127.0.0.1 -p $TCP_PORT" ;;
  tls) echo "-h localhost -p $TLS_PORT --cafile $CERTS/ca.pem --cert $CERTS/client-device.pem --key $CERTS/client-device-key.pem" ;;
  esac
}

expect() { # expect CASE GOT WANTED
  if [ "$2" = "$3" ]; then record "ok $1"; else record "not ok $1: got '$2', not '$3'"; fi
}

mosquitto_run() {
  local version transport flags
  for version in 31 311 5; do
    for transport in tcp tls; do
      flags="$(mosquitto_transport $transport) -V mqttv$version"
      mosquitto_qos "$version-$transport" "$flags"
      mosquitto_retained "$version-$transport" "$flags"
    done
    flags="$(mosquitto_transport tcp) -V mqttv$version"
    mosquitto_will "$version" "$flags"
    mosquitto_shared "$version" "$flags"
    # No other broker has these.
    [ "${INTEROP_PEER:-}" = mosquitto ] || mosquitto_delayed "$version" "$flags"
    [ "${INTEROP_PEER:-}" = mosquitto ] || mosquitto_exclusive "$version" "$flags"
  done
}

mosquitto_qos() { # mosquitto_qos NAME FLAGS
  local qos output subscriber
  for qos in 0 1 2; do
    output=$work/qos.$1.$qos
    # shellcheck disable=SC2086
    stdbuf -oL mosquitto_sub $2 -d -t "m/$1/q$qos" -q $qos -C 3 -W 20 -F 'got %t %p' >"$output" &
    subscriber=$!
    wait_for "$output" 'Subscribed'
    # shellcheck disable=SC2086
    printf 'one\ntwo\nthree\n' | mosquitto_pub $2 -t "m/$1/q$qos" -q $qos -l
    wait $subscriber
    expect "mosquitto $1 QoS $qos" "$(sed -n 's/^got //p' "$output" | tr '\n' ' ')" \
      "m/$1/q$qos one m/$1/q$qos two m/$1/q$qos three "
  done
}

mosquitto_retained() { # mosquitto_retained NAME FLAGS
  local got
  # shellcheck disable=SC2086
  mosquitto_pub $2 -t "m/$1/retained" -q 1 -r -m kept
  # shellcheck disable=SC2086
  got=$(mosquitto_sub $2 -t "m/$1/retained" -q 1 -C 1 -W 20 -F '%r %p')
  expect "mosquitto $1 retained" "$got" "1 kept"
  # shellcheck disable=SC2086
  mosquitto_pub $2 -t "m/$1/retained" -q 1 -r -n
}

mosquitto_will() { # mosquitto_will VERSION FLAGS
  local output=$work/will.$1 dying subscriber
  # shellcheck disable=SC2086
  stdbuf -oL mosquitto_sub $2 -d -t "m/$1/will" -q 1 -C 1 -W 20 -F 'got %p' >"$output" &
  subscriber=$!
  # shellcheck disable=SC2086
  stdbuf -oL mosquitto_sub $2 -d -t "m/$1/none" --will-topic "m/$1/will" --will-payload gone --will-qos 1 >"$output.dying" &
  dying=$!
  wait_for "$output" 'Subscribed'
  wait_for "$output.dying" 'Subscribed'
  kill -9 $dying
  wait $dying 2>/dev/null
  wait $subscriber
  expect "mosquitto $1 will" "$(sed -n 's/^got //p' "$output")" gone
}

mosquitto_shared() { # mosquitto_shared VERSION FLAGS
  local output=$work/shared.$1 members=() member
  : >"$output"
  for member in 1 2; do
    # shellcheck disable=SC2086
    stdbuf -oL mosquitto_sub $2 -d -t "\$share/workers/m/$1/jobs" -q 1 -F 'got %p' >"$output.$member" &
    members+=($!)
    wait_for "$output.$member" 'Subscribed'
  done
  # shellcheck disable=SC2086
  seq 10 | mosquitto_pub $2 -t "m/$1/jobs" -q 1 -l
  # One more to each, so that everything before has arrived: they are sent until both have had one.
  # shellcheck disable=SC2086
  mosquitto_pub $2 -t "m/$1/jobs" -q 1 -m end --repeat 6
  timeout 20 grep -q -m 16 '^got ' < <(exec tail --pid=$$ -n +1 -q -f "$output.1" "$output.2" 2>/dev/null)
  kill "${members[@]}"
  wait "${members[@]}" 2>/dev/null
  expect "mosquitto $1 shared subscription" \
    "$(sed -n 's/^got \([0-9]*\)$/\1/p' "$output.1" "$output.2" | sort -n | tr '\n' ' ')" "$(seq 10 | tr '\n' ' ')"
}

mosquitto_delayed() { # mosquitto_delayed VERSION FLAGS
  local output=$work/delayed.$1 subscriber
  # shellcheck disable=SC2086
  stdbuf -oL mosquitto_sub $2 -d -t "m/$1/delayed/#" -q 1 -C 3 -W 20 -F 'got %t %p' >"$output" &
  subscriber=$!
  wait_for "$output" 'Subscribed'
  # shellcheck disable=SC2086
  {
    mosquitto_pub $2 -t "\$delayed/3/m/$1/delayed/late" -q 1 -m three
    mosquitto_pub $2 -t "\$delayed/1s/m/$1/delayed/early" -q 2 -m one
    mosquitto_pub $2 -t "\$ttl/60/m/$1/delayed/now" -q 1 -m now
  }
  wait $subscriber
  expect "mosquitto $1 delayed messages" "$(sed -n 's/^got //p' "$output" | tr '\n' ' ')" \
    "m/$1/delayed/now now m/$1/delayed/early one m/$1/delayed/late three "
}

mosquitto_exclusive() { # mosquitto_exclusive VERSION FLAGS: one subscriber at a time, and the events of its client
  local output=$work/exclusive.$1 holder listener refused
  # shellcheck disable=SC2086
  stdbuf -oL mosquitto_sub $2 -d -t "\$events/client/m-holder-$1/+" -C 2 -W 20 -F 'got %t' >"$output.events" &
  listener=$!
  wait_for "$output.events" 'Subscribed'
  # shellcheck disable=SC2086
  stdbuf -oL mosquitto_sub $2 -d -i "m-holder-$1" -t "\$exclusive/m/$1/exclusive/#" -q 1 -C 1 -W 20 -F 'got %t %p' >"$output" &
  holder=$!
  wait_for "$output" 'Subscribed'
  # shellcheck disable=SC2086
  refused=$(mosquitto_sub $2 -i "m-rival-$1" -t "\$exclusive/m/$1/exclusive/#" -q 1 -E 2>&1 | grep -o denied)
  # shellcheck disable=SC2086
  mosquitto_pub $2 -t "m/$1/exclusive/a" -q 1 -m one
  wait $holder
  wait $listener
  expect "mosquitto $1 exclusive subscription" "$(sed -n 's/^got //p' "$output") $refused" "m/$1/exclusive/a one denied"
  expect "mosquitto $1 events" "$(sed -n 's/^got //p' "$output.events" | tr '\n' ' ')" \
    "\$events/client/m-holder-$1/connected \$events/client/m-holder-$1/disconnected "
  # The holder is gone, and its session with it: the filter is free.
  # shellcheck disable=SC2086
  refused=$(mosquitto_sub $2 -i "m-rival-$1" -t "\$exclusive/m/$1/exclusive/#" -q 1 -E 2>&1)
  expect "mosquitto $1 exclusive subscription given up" "$refused" ""
}

mosquitto_persistent() { # the flags of a session that outlives its connection
  echo "$(mosquitto_transport tcp) -V mqttv$1 -i m-restart-$1 -c -q 2 -t m/$1/restart $([ "$1" = 5 ] && echo '-x 1000')"
}

mosquitto_open() {
  local version
  for version in 31 311 5; do
    # shellcheck disable=SC2046
    mosquitto_sub $(mosquitto_persistent $version) -E
    # shellcheck disable=SC2046
    seq 5 | mosquitto_pub $(mosquitto_transport tcp) -V mqttv$version -t "m/$version/restart" -q 2 -l
  done
}

mosquitto_resume() {
  local version got
  for version in 31 311 5; do
    # shellcheck disable=SC2046
    got=$(mosquitto_sub $(mosquitto_persistent $version) -C 5 -W 20 | tr '\n' ' ')
    expect "mosquitto $version persistent session over a restart" "$got" "$(seq 5 | tr '\n' ' ')"
  done
}
