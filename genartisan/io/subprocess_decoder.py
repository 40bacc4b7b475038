"""AVIF and HEIC, decoded in a process of their own, which has so much time and memory and no more.

Their decoders take all bytes at once, cannot be stopped, and cost what the file likes: libavif's time is quadratic in
the items that a header lists, and a picture may hold any number of frames that are decoded and not shown.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys

from PIL import Image, features

AVIF_BRANDS = {b"avif", b"avis"}
BRANDS = AVIF_BRANDS | {b"mif1", b"msf1", b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"}
CORE_SECONDS = 20  # of all its threads together: several times what 64 megapixels take
SECONDS = 120  # by the clock, on a busy machine or one without that limit
MEMORY = 4 << 30  # bytes of address space

# Reads bytes from stdin, writes one line of JSON, profile, EXIF and pixels to stdout; what is wrong, to stderr.
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
    """The format's name if it is AVIF or HEIF by its first bytes; either may be of the brand that both have."""
    if data[4:8] != b"ftyp" or data[8:12] not in BRANDS:
        return None
    end = min(int.from_bytes(data[:4], "big"), 256)
    brands = {data[start : start + 4] for start in range(8, end, 4)}
    return "AVIF" if brands & AVIF_BRANDS else "HEIF"


def readable() -> tuple[str, ...]:
    """The formats for which the installed Pillow has a decoder, or pillow-heif is there."""
    found = {"AVIF": features.check("avif"), "HEIF": importlib.util.find_spec("pillow_heif") is not None}
    return tuple(kind for kind, is_there in found.items() if is_there)


def size_of(data: bytes, kind: str) -> tuple[int, int]:
    """(width, height) in pixels, by the header.

    Raises:
        ValueError: it is damaged.
        TimeoutError: it takes too long.
    """
    width, height = json.loads(_run(data, kind, with_pixels=False))["size"]
    return width, height


def decoded(data: bytes, kind: str) -> Image.Image:
    """The picture, or the first of several, with its profile and its EXIF.

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
    given = json.dumps([sys.path, kind, CORE_SECONDS, MEMORY, with_pixels])
    try:
        run = subprocess.run(
            [sys.executable, "-I", "-c", PROGRAM, given], input=data, capture_output=True, timeout=SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise TimeoutError from error
    if run.returncode < 0:  # a signal: its time on a core is over
        raise TimeoutError
    if run.returncode:
        raise ValueError(run.stderr.decode(errors="replace").strip().rpartition("\n")[2][:200])
    return run.stdout
