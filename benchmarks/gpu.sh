#!/usr/bin/env bash
# All that is to be measured on a GPU: benchmarks/gpu.sh CLIPSTYLER-CHECKOUT [PART ...]
#   served     a server with captured steps: pictures, stream, gRPC, drafts, load, too large a picture
#   512, 1024  a step beside CLIPstyler's: captured, compiled, by kernel, several photos in one step
#   full       memory, and drafts from a photo to a picture
#   memory, stability
# Without names of parts, all of them in this order; one that fails does not stop the others. Results go to
# benchmarks/results. DEVICE=cpu SMALL=1 tries the same at small size.
set -euo pipefail
checkout=$(realpath "${1:?give a checkout of cyclomon/CLIPstyler}")
run=$(command -v "${PYTHON:-python}")
run=$(realpath --no-symlinks "$run")
parts=" ${*:2} "
for part in $parts; do
	[[ " served 512 1024 full memory stability " == *" $part "* ]] || { echo "gpu.sh: $part is no part" >&2; exit 2; }
done
cd "$(dirname "$0")"
device=${DEVICE:-cuda} status=0 small=$((${SMALL:-0} > 0))
precision=bf16 graphs=(--graphs) compile=(--compile)
if [ "$device" = cpu ]; then precision=fp32 graphs=() compile=(); fi

attempt() {
	"$@" || { echo "gpu.sh: failed: $*" >&2; status=1; }
}

wanted() { [ "$parts" = "  " ] || [[ "$parts" == *" $1 "* ]]; }

engine() {  # side in pixels, patches, their side, steps, turns, numbers of photos in one step
	# shellcheck disable=SC2086
	attempt "$run" engine.py --clipstyler "$checkout" --device "$device" --size "$1" --patches "$2" --patch-size "$3" \
		--steps "$4" --turns "$5" --together $6 --precisions "$precision" \
		${graphs[@]+"${graphs[@]}"} ${compile[@]+"${compile[@]}"}
}

if wanted served; then
	if ((small)); then
		attempt "$run" served.py --device "$device" --size 64 --patches 4 --steps 2 --pictures 2 --levels 1x5
	else
		attempt "$run" served.py --device "$device"
	fi
fi

if wanted 512; then
	if ((small)); then engine 64 4 32 3 1 "1 2"; else engine 512 64 128 100 2 "1 2 4 8"; fi
fi
if wanted 1024 && ((!small)); then engine 1024 64 128 60 1 "1 2 4"; fi
if wanted full; then
	attempt "$run" full_size.py --device "$device" --precision "$precision" --size $((small ? 64 : 512)) \
		--patches $((small ? 4 : 64)) --steps $((small ? 2 : 400)) ${graphs[@]+"${graphs[@]}"}
fi
if wanted memory && [ "$device" != cpu ]; then
	attempt "$run" out_of_memory.py --device "$device" --megabytes 3000
fi
if wanted stability; then
	attempt "$run" stability.py --device "$device" --precision "$precision" --runs $((small ? 4 : 1000)) \
		${graphs[@]+"${graphs[@]}"}
fi
exit "$status"
