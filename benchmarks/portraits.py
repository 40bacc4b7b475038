"""What the benchmarks of region control share: photos with people, and pictures of them, made once and side by side."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from genartisan.cli.flags import add_device_flags, add_graphs_flag
from genartisan.config import StyleConfig, assignments, preset
from genartisan.evaluation.comparison_subjects import Subject, drawn, found_in
from genartisan.evaluation.evaluate import default_photos
from genartisan.evaluation.jobs import Job, Machine, make_all
from genartisan.io.images import Photo, read_mask, read_photo, resized
from genartisan.method.regions import from_mask
from genartisan.method.stylizer import Stylizer
from genartisan.validation import merged

SEED = 0


def add_flags(parser: argparse.ArgumentParser, out: Path) -> None:
    """The flags of such a benchmark, whose JSON is ``out``."""
    parser.add_argument("--size", type=int, default=384, help="long side in pixels")
    parser.add_argument("--photos", nargs="+", type=Path, help="with people, whom FCN finds (default: the astronaut)")
    parser.add_argument("--scenes", type=int, default=1, help="selfies, and as many tour photos, drawn with true masks")
    parser.add_argument("--preset", default="fast")
    parser.add_argument("--set", nargs="+", default=[], metavar="FIELD=VALUE", help="settings, such as lambda_pixel=0")
    parser.add_argument("--processes", type=int, default=2, help="that make pictures side by side")
    parser.add_argument("--resume", action="store_true", help="keep the pictures that are made already")
    parser.add_argument("--bundle", default="embedded")
    add_device_flags(parser)
    add_graphs_flag(parser)
    parser.add_argument("--work", type=Path, default=Path("out") / out.stem, help="folder of the pictures")
    parser.add_argument("--out", type=Path, default=out)


@dataclass(frozen=True)
class Portrait:
    """A photo with people.

    Attributes:
        photo: its pixels at the size of its pictures.
        people: True where they are, ``(H, W)``.
    """

    subject: Subject
    photo: Photo
    people: Tensor


class Studio:
    """Who is in the pictures of a benchmark, and who makes them."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.machine = Machine.chosen(arguments)
        self.stylizer: Stylizer = self.machine.stylizer()
        changes = merged({"size": arguments.size}, assignments(arguments.set))
        self.config: StyleConfig = preset(arguments.preset, changes)
        self._arguments = arguments

    def portraits(self) -> list[Portrait]:
        """The photos that were asked for, and scenes drawn besides."""
        work: Path = self._arguments.work
        photos = self._arguments.photos or default_photos()[:1]
        subjects = found_in(photos, self.stylizer, work / "masks")
        subjects += drawn(self._arguments.scenes, self.config.size, SEED, work / "scenes")
        return [self._portrait(subject) for subject in subjects]

    def _portrait(self, subject: Subject) -> Portrait:
        whole = read_photo(subject.photo)
        photo = resized(whole, self.config.size)
        people = from_mask(read_mask(subject.mask, whole.size)).resized(photo.size).portrait
        if not bool(people.any()):
            raise SystemExit(f"photos: {subject.photo} shows no people; give photos with people.")
        return Portrait(subject, photo, people)

    def job(self, portrait: Portrait, name: str, prompt: str, config: StyleConfig) -> Job:
        """A picture to make; ``name`` tells it from the others of this photo."""
        subject = portrait.subject
        return Job(f"{subject.name}_{name}", subject.photo, "", prompt, config, SEED, subject.mask)

    def make(self, jobs: list[Job]) -> None:
        """Makes the pictures, each once however often it is asked for."""
        arguments, once = self._arguments, list(dict.fromkeys(jobs))
        make_all(once, arguments.work, self.machine, processes=arguments.processes, resume=arguments.resume)

    def picture(self, job: Job) -> Photo:
        """A picture that was made."""
        return read_photo(job.picture(self._arguments.work))
