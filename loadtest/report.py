"""The report of a load test: a summary in words, tables, plots, and a JSON file to compare with."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
from jobs import PICTURES
from plots import plot
from processes import DESCRIPTORS, JAVA, LOGS, WORKERS, growth
from record import Moment, Record, Sample

from genartisan.io.atomic import write_whole
from genartisan.io.documents import Block, Heading, Picture, Table, Text, as_html

SETTLING = 0.2  # share of a level's time that is left out: the queue still fills or empties
NEAR_BEST = 0.95  # of the best throughput: the knee is the least level that reaches it
FAILED = ("late", "wrong", "failed")


@dataclass(frozen=True)
class Row:
    """Jobs of one class, or of one level.

    Attributes:
        ok, refused, failed, dropped: counts; see `record.Sample`.
        p50, p95, longest: seconds of those that are ok; None if there are none.
        a_minute: ok, by the time in which they were asked for.
    """

    ok: int
    refused: int
    failed: int
    dropped: int
    p50: float | None
    p95: float | None
    longest: float | None
    a_minute: float


@dataclass(frozen=True)
class Summary:
    """What a load test found.

    Attributes:
        described: the endpoint, the load and the settings.
        jobs: by class, such as ``picture draft``.
        parts: p50 and p95 in seconds of what streams and cancellations are timed to.
        levels: (users or arrivals a second, pictures at that level), least load first.
        words: what matters, a sentence each.
    """

    described: dict[str, Any]
    jobs: dict[str, Row]
    parts: dict[str, tuple[float, float]]
    levels: tuple[tuple[float, Row], ...]
    pictures_a_minute: float
    share_failed: float
    reasons: dict[str, int]
    words: tuple[str, ...]

    def as_text(self) -> str:
        """For a terminal."""
        lines = ["", *self.words, ""]
        for job, row in self.jobs.items():
            lines.append(f"{job:>16}: {described(row)}")
        lines += [f"{part:>40}: p50 {p50:.2f} s, p95 {p95:.2f} s" for part, (p50, p95) in self.parts.items()]
        lines += [f"{reason} ({count} times)" for reason, count in self.reasons.items()]
        return "\n".join(lines)


def summary_of(record: Record, settings: dict[str, Any], has_levels: bool) -> Summary:
    """The summary of a test's record."""
    samples = sorted(record.samples, key=lambda sample: sample.intended)
    seconds = max((sample.intended + sample.seconds for sample in samples), default=0.0)
    by_job: dict[str, list[Sample]] = {}
    for sample in samples:
        if sample.outcome != "dropped":
            by_job.setdefault(sample.job, []).append(sample)
    jobs = {job: row_of(each, seconds) for job, each in sorted(by_job.items())}
    parts: dict[str, list[float]] = {}
    for sample in samples:
        for part, value in sample.times.items():
            parts.setdefault(f"{sample.job}: {part}", []).append(value)
    pictures = [sample for sample in samples if sample.kind in (*PICTURES, "any")]
    whole = row_of(pictures, seconds)
    failed = sum(sample.outcome in FAILED for sample in samples)
    levels = levels_of(pictures, record.moments) if has_levels else ()
    reasons = Counter(f"{sample.job}: {sample.reason}"[:200] for sample in samples if sample.outcome in FAILED)
    return Summary(
        settings,
        jobs,
        {part: (quantile(values, 0.5), quantile(values, 0.95)) for part, values in parts.items()},
        levels,
        whole.a_minute,
        failed / len(samples) if samples else 0.0,
        dict(reasons.most_common(20)),
        (
            *words_of(whole, settings),
            *([f"{record.killed} times a worker was killed."] if record.killed else ()),
            *words_of_levels(levels, settings),
            *words_of_growth(growth([moment.server for moment in record.moments]), len(samples)),
        ),
    )


def row_of(samples: Sequence[Sample], seconds: float) -> Row:
    """Counts and times of samples that were asked for within ``seconds``."""
    counts = Counter(sample.outcome for sample in samples)
    times = [sample.seconds for sample in samples if sample.outcome == "ok"]
    return Row(
        counts["ok"], counts["refused"], sum(counts[outcome] for outcome in FAILED), counts["dropped"],
        quantile(times, 0.5) if times else None, quantile(times, 0.95) if times else None, max(times, default=None),
        60 * counts["ok"] / seconds if seconds else 0.0,
    )  # fmt: skip


def quantile(values: Sequence[float], share: float) -> float:
    """A quantile of what was seen: never between two values."""
    return float(np.quantile(values, share, method="inverted_cdf"))


def levels_of(samples: Sequence[Sample], moments: Sequence[Moment]) -> tuple[tuple[float, Row], ...]:
    """The pictures that were finished at each level, without the time in which it settles."""
    spans: list[list[float]] = []  # level, begin, end
    for moment in moments:
        if not spans or spans[-1][0] != moment.level:
            spans.append([moment.level, moment.at, moment.at])
        spans[-1][2] = moment.at
    at_level: dict[float, list[Sample]] = {}
    lasted: dict[float, float] = {}
    for level, begin, end in spans:
        begin += SETTLING * (end - begin)
        inside = [sample for sample in samples if begin <= sample.intended + sample.seconds < end]
        at_level.setdefault(level, []).extend(inside)
        lasted[level] = lasted.get(level, 0.0) + end - begin
    return tuple((level, row_of(at_level[level], lasted[level])) for level in sorted(at_level) if level > 0)


def knee_of(levels: Sequence[tuple[float, Row]]) -> float | None:
    """The least load with nearly the best throughput: beyond it only waiting grows. None if the most load is best."""
    if len(levels) < 2:
        return None
    best = max(row.a_minute for _, row in levels)
    knee = next(level for level, row in levels if row.a_minute >= NEAR_BEST * best)
    return None if knee == levels[-1][0] else knee


def words_of(pictures: Row, settings: dict[str, Any]) -> list[str]:
    """The whole test in words."""
    if settings["rate"] is None:
        users = settings["levels"] or f"{settings['users']} users"
        words = [f"{pictures.ok} pictures, closed model, {users}: {pictures.a_minute:.1f} a minute."]
    else:
        rate = settings["levels"] or f"{settings['rate']:g} a second"
        model = f"open model, {settings['model']} arrivals"
        words = [f"{pictures.ok} pictures, {model}, {rate}: {pictures.a_minute:.1f} a minute."]
    if pictures.p50 is not None and pictures.p95 is not None:
        words.append(f"Half of them took at most {pictures.p50:.2f} s, 95 % at most {pictures.p95:.2f} s.")
    for count, what in (
        (pictures.refused, "were refused, because the server was busy"),
        (pictures.failed, "failed"),
        (pictures.dropped, "never began, because too many were in flight"),
    ):
        if count:
            words.append(f"{count} {what}.")
    return words


def words_of_levels(levels: Sequence[tuple[float, Row]], settings: dict[str, Any]) -> list[str]:
    """The knee, and what breaks first beyond it."""
    if len(levels) < 2:
        return []
    unit = "users" if settings["rate"] is None else "arrivals a second"
    knee = knee_of(levels)
    if knee is None:
        return [f"No knee up to {levels[-1][0]:g} {unit}: throughput still grows. Test more."]
    row, beyond = dict(levels)[knee], [each for level, each in levels if level > knee]
    words = [f"The knee is at {knee:g} {unit}: {row.a_minute:.1f} pictures a minute, p95 {seconds_of(row.p95)}."]
    if any(each.failed for each in beyond):
        words.append("Beyond it requests fail first.")
    elif any(each.refused for each in beyond):
        words.append("Beyond it the queue is full first, and the server refuses.")
    elif any(each.dropped for each in beyond):
        words.append("Beyond it jobs pile up here until they are dropped.")
    else:
        words.append(f"Beyond it only waiting grows: p95 {seconds_of(beyond[-1].p95)} at {levels[-1][0]:g} {unit}.")
    return words


def words_of_growth(grown: dict[str, tuple[float, float]], jobs: int) -> list[str]:
    """How memory and descriptors of the server changed, and what it logs for a job."""
    words = []
    for name in (WORKERS, JAVA):
        if name in grown:
            before, after = grown[name]
            change = 100 * (after / before - 1)
            words.append(
                f"{name[0].upper()}{name[1:]}: {before / 1e9:.2f} GB, then {after / 1e9:.2f} GB ({change:+.1f} %)."
            )
    if DESCRIPTORS in grown:
        words.append("Descriptors: {:.0f}, then {:.0f}.".format(*grown[DESCRIPTORS]))
    if LOGS in grown and jobs:
        before, after = grown[LOGS]
        words.append(f"Logs grew by {max(0.0, after - before) / 1000 / (0.85 * jobs):.1f} kB a job.")
    return words


def seconds_of(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f} s"


def described(row: Row) -> str:
    """A row in words."""
    counts = [f"{count} {name}" for name, count in (("refused", row.refused), ("failed", row.failed)) if count]
    text = f"{row.ok} ok, p50 {seconds_of(row.p50)}, p95 {seconds_of(row.p95)}, {row.a_minute:.1f} a minute"
    return ", ".join((text, *counts))


def write(summary: Summary, record: Record, folder: Path) -> None:
    """Writes report.json, report.png and report.html."""
    folder.mkdir(parents=True, exist_ok=True)
    plot(summary, record, folder / "report.png")
    samples = [[each.kind, each.preset, each.intended, each.seconds, each.outcome] for each in record.samples]
    content = {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        **asdict(summary),
        "moments": [asdict(moment) for moment in record.moments],
        "samples": samples,
        "service": record.service,
    }
    write_whole(folder / "report.json", json.dumps(content, indent=1).encode())
    write_whole(folder / "report.html", as_html("Load test", blocks_of(summary, folder / "report.png")).encode())


def blocks_of(summary: Summary, picture: Path) -> list[Block]:
    """The report as blocks."""
    heads = ("ok", "refused", "failed", "dropped", "p50", "p95", "longest", "a minute")

    def cells(row: Row) -> tuple[str, ...]:
        counts = (row.ok, row.refused, row.failed, row.dropped)
        times = (row.p50, row.p95, row.longest)
        return (*map(str, counts), *map(seconds_of, times), f"{row.a_minute:.1f}")

    blocks: list[Block] = [Heading("Load test", 1), *map(Text, summary.words), Picture(picture, "Over time")]
    if summary.levels:
        unit = "Users" if summary.described["rate"] is None else "Arrivals a second"
        rows = tuple((f"{level:g}", *cells(row)) for level, row in summary.levels)
        blocks += [Heading("Pictures by load"), Table((unit, *heads), rows)]
    blocks += [Heading("Jobs"), Table(("Job", *heads), tuple((job, *cells(row)) for job, row in summary.jobs.items()))]
    if summary.parts:
        rows = tuple((part, f"{p50:.2f} s", f"{p95:.2f} s") for part, (p50, p95) in summary.parts.items())
        blocks += [Heading("Parts of a job"), Table(("Part", "p50", "p95"), rows)]
    if summary.reasons:
        rows = tuple((reason, str(count)) for reason, count in summary.reasons.items())
        blocks += [Heading("Failures"), Table(("What", "Times"), rows)]
    settings = tuple((name, json.dumps(value)) for name, value in summary.described.items())
    return [*blocks, Heading("Settings"), Table(("Setting", "Value"), settings)]
