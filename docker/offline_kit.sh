#!/usr/bin/env bash
# Makes a folder that genartisan is installed from where there is no network, and that docker/Dockerfile takes as its wheels:
# docker/offline_kit.sh cpu|cuda FOLDER. It is for the Python, system and processor that it is made with.
set -euo pipefail
accelerator=$1
mkdir -p "$2/wheels"
kit=$(realpath "$2")
cd "$(dirname "$0")/.."

for lock in build "$accelerator"; do
    python -m pip download --no-deps --require-hashes --only-binary :all: --dest "$kit/wheels" \
        --requirement "docker/locks/$lock.txt"
done
rm -rf build/lib "$kit"/wheels/genartisan-*.whl # of an earlier state of the package
python -m pip wheel --no-deps --wheel-dir "$kit/wheels" .
genartisan archive --store "$kit/model_store"
cp "docker/locks/$accelerator.txt" "$kit/requirements.txt"
cp docker/install_offline.sh "$kit/install.sh"
cd "$kit"
sums=$(find . -type f ! -name SHA256SUMS -exec sha256sum {} +)
sort --key 2 <<< "$sums" > SHA256SUMS
