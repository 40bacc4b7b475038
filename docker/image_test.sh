#!/usr/bin/env bash
# Builds the image, runs it as docker/compose.yaml does, asks for a picture, and stops it: docker/image_test.sh cpu|cuda KIT OUT
# As root, with buildah, podman, runc, debootstrap and iproute2. Needs no registry of images: BASE is made by debootstrap
# unless it names an image. The packages are those of an offline kit for the base's Python.
set -euo pipefail
accelerator=$1
kit=$(realpath "$2")
mkdir -p "$3"
out=$(realpath "$3")
cd "$(dirname "$0")/.."
image=genartisan:$accelerator
name=genartisan-image-test
photo=genartisan/embedded/astronaut.jpg
export BUILDAH_ISOLATION=chroot

say() { echo "image test: $*"; }
fail() { say "$*" >&2; exit 1; }
podman() { command podman --runtime runc --cgroup-manager cgroupfs "$@"; }
inside() { podman exec "$name" "$@"; }

base=${BASE:-localhost/genartisan-base:bookworm}
if [ -z "${BASE:-}" ] && ! podman image exists "$base"; then
    say "making $base"
    debootstrap --variant=minbase --include=python3,ca-certificates bookworm "$out/base" > "$out/debootstrap.log"
    tar -C "$out/base" -c . | podman import - "$base"
    rm -rf "$out/base"
fi
build() {
    buildah bud --layers --format docker --file docker/Dockerfile --build-arg BASE="$base" \
        --build-arg ACCELERATOR="$accelerator" --build-context wheels="$kit/wheels" "$@" .
}
SECONDS=0
build --tag "$image"
say "built in $SECONDS s, $(podman image inspect --format '{{.Size}}' "$image") bytes"
build --target sbom --output "$out"
mapfile -t health < <(podman image inspect --format '{{range .HealthCheck.Test}}{{println .}}{{end}}' "$image" | sed '/^$/d')

clean_up() {
    podman rm --force --volumes --ignore "$name" > /dev/null
    ip netns delete "$name" 2> /dev/null || true
}
trap clean_up EXIT
clean_up
ip netns add "$name"
ip netns exec "$name" ip link set lo up

# Health timers need systemd, so the check is run below.
podman run --detach --name "$name" --read-only --cap-drop ALL --security-opt no-new-privileges --tmpfs /tmp \
    --no-healthcheck --ulimit nofile=1024:1024 --ulimit nproc=1024:1024 --network "ns:/run/netns/$name" "$image" > /dev/null
SECONDS=0
until inside "${health[@]:1}" > /dev/null 2>&1; do
    [ "$(podman inspect --format '{{.State.Running}}' "$name")" = true ] || { podman logs "$name"; fail "it ended"; }
    [ $SECONDS -lt 600 ] || { podman logs "$name"; fail "not healthy in $SECONDS s"; }
    sleep 1
done
say "healthy after $SECONDS s"

[ "$(inside id -u)" = 10001 ] || fail "runs as $(inside id -u)"
[ "$(inside cat /proc/1/comm)" = tini ] || fail "PID 1 is $(inside cat /proc/1/comm)"
! inside touch /app/file 2> /dev/null || fail "the root is writable"
for tool in pip pip3 uv cc gcc c++ ld make; do
    ! inside sh -c "command -v $tool" || fail "has $tool"
done
for module in pip ensurepip; do
    for python in python python3 /usr/bin/python3; do
        ! inside "$python" -c "import $module" 2> /dev/null || fail "$python has $module"
    done
done
inside cat sbom.cdx.json | cmp - "$out/sbom.cdx.json"

(umask 077; inside cat /state/serve/key_file.json > "$out/key_file.json")
request() { ip netns exec "$name" genartisan request "$photo" "$@" --key-file "$out/key_file.json" --overwrite; }
request "Watercolor painting" --preset fast --size 256 --quiet --output "$out/picture.png"
say "made $out/picture.png"

rm -rf "$out/previews"
request "Fire" --preset fast --size 256 --steps 40 --quiet --previews "$out/previews" --output "$out/run.png" &
run=$!
until compgen -G "$out/previews/*" > /dev/null; do
    kill -0 "$run" 2> /dev/null || fail "the run failed"
    sleep 0.2
done
SECONDS=0
inside "${health[@]:1}" > /dev/null || fail "not healthy during a run"
kill -0 "$run" || fail "the run ended before the health check did"
say "healthy during a run, in $SECONDS s"
wait "$run"

mapfile -t processes < <(podman top "$name" hpid | tail -n +2)
SECONDS=0
podman stop --time 60 "$name" > /dev/null
say "stopped ${#processes[@]} processes in $SECONDS s, exit status $(podman inspect --format '{{.State.ExitCode}}' "$name")"
for process in "${processes[@]}"; do
    ! kill -0 "$process" 2> /dev/null || fail "process $process is left"
done
