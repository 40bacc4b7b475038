"""Checks how the handler answers a request that really runs out of memory.

    python benchmarks/out_of_memory.py --device cuda --megabytes 3000
    python benchmarks/out_of_memory.py --megabytes 2000

The handler, loaded as TorchServe does, must refuse with 413 and name a size. A request of that size and a small one
must then succeed. Memory is limited by PyTorch's allocator on CUDA, and on the CPU (Linux only) by the size of the
process's data segment beyond what the handler has once it is ready.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib
import json
import re
import resource
import sys
import tempfile
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import yaml
from PIL import Image
from ts.context import Context, RequestProcessor

from genartisan.io.files import SAMPLE
from genartisan.io.images import encode
from genartisan.serving.archive import archive

LARGE = {"preset": "fast", "size": 2048, "patches": 8, "steps": 2, "coarse_share": 0.0}
SMALL = {**LARGE, "size": 96}
M_MMAP_THRESHOLD = -3  # glibc's malloc.h


def main() -> int:
    arguments = parse()
    with tempfile.TemporaryDirectory() as folder, Image.open(SAMPLE) as photo:
        tempfile.tempdir = folder  # the handler keeps its lock files there
        enlarged = encode(photo.convert("RGB").resize((2048, 2048)), "image/jpeg")
        handler = loaded(archive(arguments.bundle, Path(folder) / "store"), Path(folder) / "model", arguments.device)
        status, answer = ask(handler, enlarged, SMALL)
        assert status == 200, answer
        limit(torch.device(arguments.device), arguments.megabytes * 10**6)
        status, answer = ask(handler, enlarged, LARGE)
        print(status, answer.decode()[:300])
        assert status == 413, "the request fitted into memory; lower --megabytes"
        fitting = re.search(r"size (\d+) would fit", answer.decode())
        assert fitting, "no size was found; raise --megabytes"
        for size in (int(fitting[1]), SMALL["size"]):
            status, answer = ask(handler, enlarged, {**LARGE, "size": size})
            print(f"size {size}: {status}, {len(answer):,} bytes")
            assert status == 200, answer[:300]
    return 0


def loaded(mar: Path, folder: Path, device: str) -> Any:
    """The handler of an archive, initialised as TorchServe does."""
    with zipfile.ZipFile(mar) as file:
        file.extractall(folder)
    sys.path.insert(0, str(folder))
    handler = importlib.import_module("genartisan_handler").GenartisanHandler()
    worker = context({}, str(folder), 0 if device == "cuda" else None)
    worker.model_yaml_config = yaml.safe_load((folder / "model-config.yaml").read_text())
    worker.model_yaml_config["handler"] |= {"result_cache_bytes": 0}
    handler.initialize(worker)
    return handler


def context(headers: dict[str, str], folder: str = ".", gpu: int | None = None) -> Context:
    """TorchServe's context of one request."""
    metrics = SimpleNamespace(
        get_metric=lambda *_: SimpleNamespace(add_or_update=lambda *_: None),
        add_counter=lambda *_: None,
        add_time=lambda *_: None,
    )
    manifest = {"model": {"modelVersion": "1.0"}}
    request = Context("genartisan", folder, manifest, 1, gpu, "0.12.0", True, metrics, {})
    request.request_processor = [RequestProcessor(headers)]
    request.request_ids = {0: "some-id"}
    return request


def ask(handler: Any, photo: bytes, params: dict[str, Any]) -> tuple[int, bytes]:
    """Status and body of one HTTP request."""
    request = context({"Host": "127.0.0.1", "url_path": ""})
    fields = {"photo": photo, "prompt": b"fire", "params": json.dumps(params).encode()}
    (answer,) = handler.handle([fields], request)
    return request.get_response_status(0)[0], answer


def limit(device: torch.device, size: int) -> None:
    """Limits this process to ``size`` bytes more than it uses now."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
        total = torch.cuda.get_device_properties(device).total_memory
        torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + size) / total)
        return
    # glibc keeps freed large blocks for itself unless they are mapped.
    ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, 10**6)
    # Not RLIMIT_AS: glibc reserves 64 MB of addresses, but little memory, for each thread that allocates.
    pages = int(Path("/proc/self/statm").read_text().split()[5])  # data and stack
    size += pages * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_DATA, (size, resource.RLIM_INFINITY))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--bundle", default="embedded")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--megabytes", type=int, default=2000)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
