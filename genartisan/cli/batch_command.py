"""`batch`: a picture for each photo of a folder or manifest, on all cores or GPUs of a machine or cluster."""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
from collections import Counter
from contextlib import redirect_stdout
from typing import TYPE_CHECKING

from genartisan.cli.console import print_progress, print_summary, print_warnings
from genartisan.cli.flags import (
    add_graphs_flag,
    add_quiet_flag,
    add_setting_flags,
    add_style_image_flag,
    add_stylizer_flags,
    params_of,
    style_images_of,
)
from genartisan.cli.outputs import MEDIA_TYPES, media_type_of
from genartisan.errors import GenartisanError, InputError

if TYPE_CHECKING:
    from genartisan.batch.items import Item
    from genartisan.batch.job import Job
    from genartisan.method.saved_style import SavedStyle

DEVICES = ("auto", "cpu", "cuda")
COMMONEST = 5  # warnings, and reasons of failures, that are printed


def batch(options: argparse.Namespace) -> int:
    """Stylise the photos of a folder or manifest, on all cores or GPUs; a rerun makes what is missing."""
    if importlib.util.find_spec("ray") is None:
        raise InputError("batch needs Ray; install it with: pip install 'genartisan[batch]'.")
    if options.device not in DEVICES:
        raise InputError(f"device is {options.device!r}; choose {', '.join(DEVICES)}: Ray assigns GPUs.", "device")
    from genartisan.batch.items import check
    from genartisan.batch.job import Job
    from genartisan.io.storage import located
    from genartisan.method.saved_style import StyleFolder
    from genartisan.networks.bundle import Bundle

    media_type = media_type_of("", options.format)
    suffix = next(suffix for suffix, known in MEDIA_TYPES.items() if known == media_type)
    folder = absolute(options.output)
    items = read_items(options, folder)
    styles = check(items, Bundle.load(options.bundle), StyleFolder(options.style_folder))
    job = Job({located(item.name(suffix), folder): item for item in items}, folder)
    job.write_failures()  # refuses a folder that cannot be written to, before the work
    try:
        make(job, options, media_type, styles)
    finally:  # also after Ctrl-C
        job.write_failures()
        report(job)
    return int(bool(job.failed))


def read_items(options: argparse.Namespace, output: str) -> list[Item]:
    """The items of a folder or manifest.

    Raises:
        InputError: it cannot be read, or the outputs would be among the photos.
    """
    from genartisan.batch import manifest
    from genartisan.batch.items import Item, of_photos
    from genartisan.io import storage

    source = absolute(options.input)
    style_images = {name: absolute(str(file)) for name, file in (style_images_of(options) or {}).items()}
    shared = Item(photo="", style_images=style_images, params=params_of(options), folder=source)
    if storage.is_folder(source, "input"):
        if f"{output}/".startswith(f"{source}/"):
            raise InputError(f"output {output!r} is in the folder of the photos; choose another.", "output")
        return of_photos(storage.pictures_under(source, "input"), shared, options.prompts)
    if not source.lower().endswith(manifest.FORMATS):
        known = " or ".join(manifest.FORMATS)
        raise InputError(f"input {options.input!r} is no folder of photos, and no manifest, {known}.", "input")
    return manifest.read(source, source.rpartition("/")[0], shared, options.prompts)


def absolute(path: str) -> str:
    """A path from the root, or a URL, without a slash at its end."""
    from genartisan.io.storage import is_url

    return path.rstrip("/") if is_url(path) else os.path.abspath(path)


def make(job: Job, options: argparse.Namespace, media_type: str, styles: dict[str, SavedStyle]) -> None:
    """Makes the pictures of a job.

    Raises:
        GenartisanError: there are no workers, or one can make no pictures.
    """
    from tqdm import tqdm

    from genartisan.batch.worker import Worker
    from genartisan.cli import ray_pool

    bundle = options.bundle if options.bundle in ("embedded", "official") else absolute(options.bundle)
    with (
        redirect_stdout(sys.stderr),  # where Ray tells of processes that died
        ray_pool.cluster(options.address),
        tqdm(total=len(job.items), unit="picture", disable=options.quiet, file=sys.stderr) as bar,
    ):
        share = ray_pool.shares(ray_pool.alive(), options.device, options.threads)
        worker = Worker(
            bundle=bundle, device=share.device, precision=options.precision, graphs=options.graphs,
            threads=share.threads, media_type=media_type, styles=styles,
        )  # fmt: skip
        for outcome in ray_pool.outcomes(job.items, worker, share):
            if outcome.status == "unfit":
                raise GenartisanError(str((outcome.error or {}).get("message")))
            job.add(outcome)
            bar.set_postfix({"skipped": len(job.skipped), "failed": len(job.failed)}, refresh=False)
            bar.update()
    job.check_seen()


def report(job: Job) -> None:
    """Prints the commonest warnings and reasons of failures, and the summary."""
    print_warnings(f"{count} x {warning}" for warning, count in job.warnings.most_common(COMMONEST))
    reasons = Counter(error["message"] for error in job.failed.values())
    for reason, count in reasons.most_common(COMMONEST):
        print_progress(f"genartisan: failed: {count} x {reason}")
    print_summary(job.summary)


def add_batch_flags(parser: argparse.ArgumentParser) -> None:
    """Input, output, settings and workers of `batch`."""
    parser.add_argument(
        "input", metavar="FOLDER|MANIFEST",
        help="folder of photos, searched with the folders in it, or a .csv or .jsonl file with a photo, its prompt and "
        "settings on each line; or a URL such as s3://BUCKET/photos",
    )  # fmt: skip
    parser.add_argument(
        "--prompt", dest="prompts", action="append", default=[], metavar="TEXT",
        help="style, such as Fire; given twice, each photo becomes two pictures",
    )  # fmt: skip
    parser.add_argument("-o", "--output", required=True, metavar="DIR", help="folder for the pictures, or a URL")
    parser.add_argument("--format", default="png", metavar="F", help="png, jpg or webp (default: png)")
    add_style_image_flag(parser)
    add_setting_flags(parser)
    add_stylizer_flags(parser)
    add_graphs_flag(parser)
    threads = "cores of a worker on a CPU (default: 4, or those of a smaller node)"
    parser.add_argument("--threads", type=int, metavar="N", help=threads)
    parser.add_argument(
        "--address", default=os.environ.get("RAY_ADDRESS"), metavar="HOST:PORT",
        help="head of a Ray cluster, or auto on one of its nodes (default: RAY_ADDRESS, or this machine alone)",
    )  # fmt: skip
    add_quiet_flag(parser)
