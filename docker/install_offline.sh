#!/usr/bin/env bash
# Installs genartisan from the kit that this script lies in, into a new virtual environment, without a network:
# ./install.sh FOLDER [PYTHON]
set -euo pipefail
environment=$(realpath -m "$1")
python=${2:-python3}
cd "$(dirname "$0")"
sha256sum --quiet --check SHA256SUMS
"$python" -m venv "$environment"
export PIP_CONFIG_FILE=/dev/null # no index, no constraint of this machine
pip=("$environment/bin/pip" install --disable-pip-version-check --no-index --find-links wheels)
"${pip[@]}" --require-hashes --requirement requirements.txt
"${pip[@]}" --no-deps wheels/genartisan-*.whl
echo "Serve with: $environment/bin/genartisan serve --store $PWD/model_store"
