#!/bin/sh
# Runs HAProxy with the server's key from a file, and starts another whenever the key changes; the one before ends when
# its requests are answered. SIGTERM, and SIGUSR1 by which Docker stops HAProxy's image, end all likewise.
#
#   docker/gate/run.sh docker/gate/haproxy.cfg KEY_FILE
set -eu

running=
finish() {
    [ -z "$running" ] || kill -USR1 "$running"
    wait
    exit 0
}
trap finish TERM INT USR1

while :; do
    key=$(cat "$2" 2> /dev/null || true)
    if [ -n "$key" ] && [ "$key" != "${GENARTISAN_KEY:-}" ]; then
        export GENARTISAN_KEY="$key"
        haproxy -db -f "$1" ${running:+-sf "$running"} &
        running=$!
    fi
    sleep 1 &
    wait $!                                     # unlike sleep itself, it is interrupted by a signal
    [ -z "$running" ] || kill -0 "$running"     # if HAProxy has ended, so does this
done
