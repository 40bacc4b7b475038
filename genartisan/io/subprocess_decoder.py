"""AVIF and HEIC, decoded in a subprocess with limited time and memory.

Their decoders cannot be interrupted, and their cost is not bounded by the pixels: libavif's time is quadratic in the
number of items in the header, and a file may hold any number of frames that are decoded but never shown.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys

from PIL import Image, features

AVIF_BRANDS = {b"avif", b"avis"}
BRANDS = AVIF_BRANDS | {b"mif1", b"msf1", b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"}
CORE_SECONDS = 20  # CPU time of all threads together: several times what 64 megapixels take
SECONDS = 120  # wall time, for busy machines and systems without RLIMIT_CPU
MEMORY = 4 << 30  # bytes of address space

# Reads the file from stdin; writes one line of JSON, the profile, EXIF and the pixels to stdout, errors to stderr.
PROGRAM = """
import io, json, sys
sys.path[:], kind, core_seconds, memory, with_pixels = json.loads(sys.argv[1])
try:
    import resource
    resource.setrlimit(resource.RLIMIT_CPU, (core_seconds, core_seconds))
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
except (ImportError, ValueError, OSError):
    pass
from PIL import Image, UnidentifiedImageError
Image.MAX_IMAGE_PIXELS = None
if kind == "HEIF":
    import pillow_heif
    pillow_heif.register_heif_opener()
try:
    with Image.open(io.BytesIO(sys.stdin.buffer.read()), formats=[kind]) as image:
        facts = {"size": image.size}
        if with_pixels:
            image.load()
            parts = [image.info.get(name) or b"" for name in ("icc_profile", "exif")]
            facts |= {"size": image.size, "mode": image.mode, "lengths": list(map(len, parts))}
        sys.stdout.buffer.write(json.dumps(facts).encode() + b"\\n")
        if with_pixels:
            sys.stdout.buffer.writelines([*parts, image.tobytes()])
except UnidentifiedImageError:
    sys.exit("its header cannot be read")
except MemoryError:
    sys.exit("it takes too much memory")
except Exception as error:
    sys.exit(str(error) or type(error).__name__)
"""


def kind_of(data: bytes) -> str | None:
    """AVIF or HEIF by the file's magic bytes, else None; compatible brands decide where both share a major brand."""
    if data[4:8] != b"ftyp" or data[8:12] not in BRANDS:
        return None
    end = min(int.from_bytes(data[:4], "big"), 256)
    brands = {data[start : start + 4] for start in range(8, end, 4)}
    return "AVIF" if brands & AVIF_BRANDS else "HEIF"


def readable() -> tuple[str, ...]:
    """Those of AVIF and HEIF with an installed decoder."""
    installed = {"AVIF": features.check("avif"), "HEIF": importlib.util.find_spec("pillow_heif") is not None}
    return tuple(kind for kind, has_decoder in installed.items() if has_decoder)


def size_of(data: bytes, kind: str) -> tuple[int, int]:
    """(width, height) in pixels, from the header.

    Raises:
        ValueError: damaged.
        TimeoutError: decoding takes too long.
    """
    width, height = json.loads(_run(data, kind, with_pixels=False))["size"]
    return width, height


def decoded(data: bytes, kind: str) -> Image.Image:
    """The file's picture, or its first one, with ICC profile and EXIF.

    Raises:
        ValueError, TimeoutError: as `size_of`.
    """
    head, _, rest = _run(data, kind, with_pixels=True).partition(b"\n")
    facts = json.loads(head)
    profile, exif = facts["lengths"]
    image = Image.frombytes(facts["mode"], tuple(facts["size"]), rest[profile + exif :])
    image.info.update({"icc_profile": rest[:profile], "exif": rest[profile : profile + exif]})
    return image


def _run(data: bytes, kind: str, with_pixels: bool) -> bytes:
    arguments = json.dumps([sys.path, kind, CORE_SECONDS, MEMORY, with_pixels])
    command = [sys.executable, "-I", "-c", PROGRAM, arguments]
    try:
        run = subprocess.run(command, input=data, capture_output=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise TimeoutError from error
    if run.returncode < 0:  # killed by a signal: out of CPU time
        raise TimeoutError
    if run.returncode:
        raise ValueError(run.stderr.decode(errors="replace").strip().rpartition("\n")[2][:200])
    return run.stdout
