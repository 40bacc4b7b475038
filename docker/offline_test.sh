#!/usr/bin/env bash
# Installs an offline kit in a network namespace that has loopback alone, serves there, and asks for a picture:
# docker/offline_test.sh KIT PICTURE
set -euo pipefail
kit=$(realpath "$1")
picture=$(realpath -m "$2")
photo=$(realpath "$(dirname "$0")/../genartisan/embedded/astronaut.jpg")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
unshare --net --map-root-user bash -euo pipefail -s "$kit" "$photo" "$picture" << 'END'
ip link set lo up
[ -z "$(ip route)" ]
"$1/install.sh" venv
PATH=$PWD/venv/bin:$PATH
trap 'genartisan stop' EXIT
genartisan serve --store "$1/model_store"
genartisan request "$2" "Watercolor painting" --preset fast --size 256 --output "$3" --overwrite
END
