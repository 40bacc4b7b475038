#!/bin/sh
# Copies the key for pictures, and no other, from TorchServe's key file to one that the gate may read, whenever it changes.
#
#   docker/gate/share_key.sh /state/serve/key_file.json /key/inference

while sleep 1; do
    key=$(sed -n '/"inference"/,/}/ s/.*"key": "\(.*\)".*/\1/p' "$1" 2> /dev/null)
    if [ -n "$key" ] && [ "$key" != "$(cat "$2" 2> /dev/null)" ]; then
        printf %s "$key" > "$2.new" && mv "$2.new" "$2"
    fi
done
