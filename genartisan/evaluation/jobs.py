"""The pictures of an evaluation: made side by side in processes, kept with their reports, made once."""

from __future__ import annotations

import json
import os
from argparse import Namespace
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
from genartisan.io.images import encode
from genartisan.method.stylizer import Stylizer
from genartisan.networks.bundle import MANIFEST, Bundle, resolve, sha256

WHERE = ("device", "precision", "graphs")  # of what a picture was made from: the machine's part


@dataclass(frozen=True)
class Machine:
    """The networks and where they run; what `Stylizer` takes."""

    bundle: str
    device: str = "auto"
    precision: str = "auto"
    graphs: bool = False

    @classmethod
    def chosen(cls, options: Namespace) -> Machine:
        """The one that the flags name."""
        return cls(options.bundle, options.device, options.precision, options.graphs)

    @cached_property
    def bundle_hash(self) -> str:
        """SHA-256 of the bundle's manifest, which holds the hashes of its files."""
        return sha256(resolve(self.bundle) / MANIFEST)

    def stylizer(self) -> Stylizer:
        return Stylizer(Bundle.load(self.bundle), self.device, self.precision, graphs=self.graphs)


@dataclass(frozen=True)
class Job:
    """One picture to make.

    Attributes:
        name: of its files, without a suffix.
        photo, style, prompt, config, seed: what to make; ``style`` is the judge's name for what ``prompt`` asks for.
        mask: white where people are; None: where FCN finds them.
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
        """The report of the picture that was made."""
        report: dict[str, Any] = json.loads(self._report_file(folder).read_text(encoding="utf-8"))
        return report

    def is_made(self, folder: Path, machine: Machine, anywhere: bool = False) -> bool:
        """Whether the folder holds this very picture: of the same photo, words, settings, seed and networks.

        Args:
            anywhere: another device, precision or way of taking steps is as good.
        """
        if not (self._report_file(folder).is_file() and self.picture(folder).is_file()):
            return False
        made_from, wanted = self.report(folder).get("made_from", {}), self._source(machine)
        free = WHERE if anywhere else ()
        return all(made_from.get(name) == wanted.get(name) for name in {*made_from, *wanted}.difference(free))

    def make(self, folder: Path, machine: Machine, stylizer: Stylizer) -> None:
        """Makes the picture; its report is written last, so a picture that has one is whole."""
        self._report_file(folder).unlink(missing_ok=True)
        result = stylizer(self.photo, self.prompt, config=self.config, mask=self.mask, seed=self.seed)
        write_whole(self.picture(folder), encode(result.image))
        report = {**result.report, "made_from": self._source(machine)}
        write_whole(self._report_file(folder), json.dumps(report, indent=1) + "\n")

    def _report_file(self, folder: Path) -> Path:
        return folder / f"{self.name}.json"

    def _source(self, machine: Machine) -> dict[str, Any]:
        return {
            "photo": sha256(self.photo),
            "prompt": self.prompt,
            "seed": self.seed,
            "config": self.config.model_dump(),
            "bundle": machine.bundle_hash,
            "device": machine.device,
            "precision": machine.precision,
            **({"graphs": True} if machine.graphs else {}),
            **({} if self.mask is None else {"mask": sha256(self.mask)}),
        }


def make_all(
    jobs: Sequence[Job],
    folder: Path,
    machine: Machine,
    *,
    processes: int = 2,
    resume: bool = False,
    anywhere: bool = False,
) -> int:
    """Makes every picture, and says how many it made.

    Args:
        processes: each of several has its share of the cores. One is this process.
        resume: keep those that are made already; with ``anywhere``, on whatever machine.
    """
    folder.mkdir(parents=True, exist_ok=True)
    left = [job for job in jobs if not (resume and job.is_made(folder, machine, anywhere))]
    with tqdm(total=len(jobs), initial=len(jobs) - len(left), unit="picture", desc="pictures") as bar:
        if processes == 1 and left:
            stylizer = machine.stylizer()
            for job in left:
                job.make(folder, machine, stylizer)
                bar.update()
        elif left:
            _make_in_processes(left, folder, machine, processes, bar)
    return len(left)


def _make_in_processes(jobs: Sequence[Job], folder: Path, machine: Machine, processes: int, bar: tqdm[Any]) -> None:
    threads = max(1, (os.cpu_count() or 1) // processes)
    with ProcessPoolExecutor(processes, get_context("spawn"), _prepare, (machine, threads)) as pool:
        futures = [pool.submit(_make, job, folder) for job in jobs]
        try:
            for future in as_completed(futures):
                future.result()
                bar.update()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)  # those under way end; the others never begin
            raise


_worker: tuple[Machine, Stylizer]  # of a worker process, which loads the networks once


def _prepare(machine: Machine, threads: int) -> None:
    global _worker
    torch.set_num_threads(threads)
    _worker = machine, machine.stylizer()


def _make(job: Job, folder: Path) -> None:
    machine, stylizer = _worker
    job.make(folder, machine, stylizer)
