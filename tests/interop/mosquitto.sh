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

# Waits until so many messages are in the files together: wait_for_all COUNT FILE... Counted, because -q would end at the first.
wait_for_all() {
  local count=$1
  shift
  timeout 20 grep -c -m "$count" '^got ' < <(exec tail --pid=$$ -n +1 -q -f "$@" 2>/dev/null) | cat >/dev/null
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
    [ "${INTEROP_PEER:-}" = mosquitto ] || {
      mosquitto_delayed "$version" "$flags"
      mosquitto_groups "$version" "$flags"
      mosquitto_exclusive "$version" "$flags"
    }
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
  wait_for_all 16 "$output.1" "$output.2"
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

mosquitto_groups() { # mosquitto_groups VERSION FLAGS
  local name=g$1 topic=m/$1/backlog output=$work/groups.$1 members=() member
  # A backlog of a group that nobody is in.
  # shellcheck disable=SC2086
  {
    mosquitto_pub $2 -q 1 -t "\$ctl/groups/$name/create" -m "{\"filter\":\"$topic\",\"from\":\"earliest\"}"
    seq 10 | mosquitto_pub $2 -q 1 -t "$topic" -l
    expect "mosquitto $1 group, backlog" "$(mosquitto_ask "$2" "$name/show" '"lag":{"messages":[0-9]*')" '"lag":{"messages":10'
    expect "mosquitto $1 group, its first member" \
      "$(mosquitto_sub $2 -q 1 -t "\$share/$name/$topic" -C 10 -W 20 | tr '\n' ' ')" "$(seq 10 | tr '\n' ' ')"
    expect "mosquitto $1 group, empty" "$(mosquitto_ask "$2" "$name/show" '"lag":{"messages":[0-9]*')" '"lag":{"messages":0'
  }
  # Two members share it, and once more after a seek.
  for member in 1 2; do
    # shellcheck disable=SC2086
    stdbuf -oL mosquitto_sub $2 -d -q 1 -t "\$share/$name/$topic" -F 'got %p' >"$output.$member" &
    members+=($!)
    wait_for "$output.$member" 'Subscribed'
  done
  # shellcheck disable=SC2086
  mosquitto_pub $2 -q 1 -t "\$ctl/groups/$name/seek" -m earliest
  wait_for_all 10 "$output.1" "$output.2"
  kill "${members[@]}"
  wait "${members[@]}" 2>/dev/null
  expect "mosquitto $1 group, seek, two members" \
    "$(sed -n 's/^got //p' "$output.1" "$output.2" | sort -n | tr '\n' ' ')" "$(seq 10 | tr '\n' ' ')"
  for member in 1 2; do
    if grep -q '^got ' "$output.$member"; then record "ok mosquitto $1 group, member $member has a share"; else record "not ok mosquitto $1 group, member $member got nothing"; fi
  done
  mosquitto_manual "$1" "$2"
}

mosquitto_manual() { # mosquitto_manual VERSION FLAGS: a group with manual commit
  local name=c$1 topic=m/$1/manual words flags got
  words="{\"filter\":\"$topic\",\"commit\":\"manual\"}"
  # A kept session, whose end would give everything back.
  flags="$2 -i member-$1 -c -q 1 -t \$share/$name/$topic -W 20 $([ "$1" = 5 ] && echo '-x 1000')"
  # shellcheck disable=SC2086
  {
    mosquitto_pub $2 -q 1 -t "\$ctl/groups/$name/create" -m "$words"
    seq 3 | mosquitto_pub $2 -q 1 -t "$topic" -l
    got=$(mosquitto_sub $flags -C 3 | tr '\n' ' ')
    expect "mosquitto $1 group, reset" "$got$(mosquitto_ask "$2" "$name/reset" '"returned":[0-9]*')" '1 2 3 "returned":3'
    got=$(mosquitto_sub $flags -C 3 | tr '\n' ' ')
    got=$got$(mosquitto_ask "$2" "$name/show" '"position":[0-9]*')
    expect "mosquitto $1 group, after a reset" "${got%%\"*}" '1 2 3 '
    expect "mosquitto $1 group, commit up to an offset" \
      "$(mosquitto_ask "$2" "$name/commit" '"committed":[0-9]*' "$((${got##*:} - 1))")" '"committed":3'
    expect "mosquitto $1 group, nothing left to reset" "$(mosquitto_ask "$2" "$name/reset" '"returned":[0-9]*')" '"returned":0'
  }
}

mosquitto_ask() { # mosquitto_ask FLAGS REQUEST PATTERN [PAYLOAD]: the part of the answer to a request about groups
  local payload=(-n)
  [ $# -lt 4 ] || payload=(-m "$4")
  # shellcheck disable=SC2086
  mosquitto_rr $1 -q 1 -i asking -W 20 -t "\$ctl/groups/$2" -e "\$ctl/reply/asking" "${payload[@]}" | grep -o "$3"
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
