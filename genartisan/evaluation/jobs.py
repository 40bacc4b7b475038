"""The pictures of an evaluation: made once, side by side in processes, and stored with their reports."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import cached_property
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from genartisan.config import StyleConfig
from genartisan.io.atomic import write_whole
from genartisan.io.files import sha256
from genartisan.io.images import encode
from genartisan.method.stylizer import Stylizer
from genartisan.networks.bundle import MANIFEST, Bundle, resolve


@dataclass(frozen=True)
class StylizerSpec:
    """A bundle and where it runs: the arguments of `Stylizer`, which another process can load again."""

    bundle: str
    device: str = "auto"
    precision: str = "auto"
    graphs: bool = False

    @cached_property
    def bundle_hash(self) -> str:
        """SHA-256 of the bundle's manifest, which holds the hashes of its files."""
        return sha256(resolve(self.bundle) / MANIFEST)

    def load(self) -> Stylizer:
        return Stylizer(Bundle.load(self.bundle), self.device, self.precision, graphs=self.graphs)


@dataclass(frozen=True)
class Job:
    """One picture to make.

    Attributes:
        name: of its files, without a suffix.
        style: the judge's name for what ``prompt`` asks for.
        mask: white on people; None: FCN segments the photo.
    """

    name: str
    photo: Path
    style: str
    prompt: str
    config: StyleConfig
    seed: int
    mask: Path | None = None

    def picture(self, folder: Path) -> Path:
        return folder / f"{self.name}.png"

    def report(self, folder: Path) -> dict[str, Any]:
        """The report of the finished picture."""
        report: dict[str, Any] = json.loads(self._report_file(folder).read_text(encoding="utf-8"))
        return report

    def is_made(self, folder: Path, spec: StylizerSpec) -> bool:
        """Whether the folder holds this picture, made from the same photo, prompt, settings, seed and networks."""
        if not (self._report_file(folder).is_file() and self.picture(folder).is_file()):
            return False
        return bool(self.report(folder).get("made_from", {}) == self.source(spec))

    def make(self, folder: Path, spec: StylizerSpec, stylizer: Stylizer) -> None:
        """Makes the picture. Its report is written last, so a picture with a report is complete."""
        self._report_file(folder).unlink(missing_ok=True)
        result = stylizer(self.photo, self.prompt, config=self.config, mask=self.mask, seed=self.seed)
        write_whole(self.picture(folder), encode(result.image))
        report = {**result.report, "made_from": self.source(spec)}
        write_whole(self._report_file(folder), json.dumps(report, indent=1) + "\n")

    def source(self, spec: StylizerSpec) -> dict[str, Any]:
        """Everything that the picture depends on."""
        return {
            "photo": sha256(self.photo),
            "prompt": self.prompt,
            "seed": self.seed,
            "config": self.config.model_dump(),
            "bundle": spec.bundle_hash,
            "device": spec.device,
            "precision": spec.precision,
            **({"graphs": True} if spec.graphs else {}),
            **({} if self.mask is None else {"mask": sha256(self.mask)}),
        }

    def _report_file(self, folder: Path) -> Path:
        return folder / f"{self.name}.json"


def make_all(jobs: Sequence[Job], folder: Path, spec: StylizerSpec, *, processes: int, resume: bool = False) -> int:
    """Makes every picture and returns how many were made.

    Args:
        processes: share the cores; with 1, the pictures are made in this process.
        resume: reuse pictures that are already there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    missing = [job for job in jobs if not (resume and job.is_made(folder, spec))]
    with tqdm(total=len(jobs), initial=len(jobs) - len(missing), unit="picture", desc="pictures") as bar:
        if processes == 1 and missing:
            stylizer = spec.load()
            for job in missing:
                job.make(folder, spec, stylizer)
                bar.update()
        elif missing:
            _make_in_processes(missing, folder, spec, processes, bar)
    return len(missing)


def _make_in_processes(jobs: Sequence[Job], folder: Path, spec: StylizerSpec, processes: int, bar: tqdm[Any]) -> None:
    threads = max(1, (os.cpu_count() or 1) // processes)
    with ProcessPoolExecutor(processes, get_context("spawn"), _prepare, (spec, threads)) as pool:
        futures = [pool.submit(_make, job, folder) for job in jobs]
        try:
            for future in as_completed(futures):
                future.result()
                bar.update()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)  # running jobs finish, queued ones never start
            raise


_worker: tuple[StylizerSpec, Stylizer]  # of a worker process, which loads the networks once


def _prepare(spec: StylizerSpec, threads: int) -> None:
    global _worker
    torch.set_num_threads(threads)
    _worker = spec, spec.load()


def _make(job: Job, folder: Path) -> None:
    spec, stylizer = _worker
    job.make(folder, spec, stylizer)
