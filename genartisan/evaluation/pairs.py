"""The pictures of a comparison: every photo in every style in both modes, and an ablation of the patch controls."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from typing import Any

from genartisan.config import StyleConfig, preset
from genartisan.evaluation.jobs import Job
from genartisan.evaluation.photos import Subject

MODES = ("clipstyler", "artisan")
CONTROLS = {
    "share": "patch budget",
    "weight": "weight penalty",
    "threshold": "threshold",
    "decision": "deciding window",
}
NONE, ALL = "no control", "all four"
ABLATION = {"steps": 120, "learning_rate": 2e-3, "halve_every": 60}  # long enough for a StyleNet to show a style
GLOBAL_ABLATION = ("clipstyler", "clipstyler, no global loss", ALL, f"{ALL}, no global loss")  # as in the paper's fig 7


@dataclass(frozen=True)
class Pair:
    """A photo and a style; ``prompt`` asks for the style."""

    subject: Subject
    style: str
    prompt: str

    @property
    def name(self) -> str:
        """The stem of its files; a style may be any sentence, so its hash tells it from others."""
        words = re.sub(r"[^a-z0-9]+", "_", self.style.lower()).strip("_")[:40]
        return f"{self.subject.name}_{words}_{hashlib.sha256(self.style.encode()).hexdigest()[:6]}"


@dataclass(frozen=True)
class Entry:
    """A picture of the comparison.

    Attributes:
        group: ``comparison`` or ``ablation``.
        setting: the mode, or which controls are active.
    """

    pair: Pair
    group: str
    setting: str
    job: Job


def compared(pairs: Sequence[Pair], config: StyleConfig, seed: int) -> list[Entry]:
    """Both modes of every pair."""
    return [entry(pair, "comparison", mode, config.updated({"mode": mode}), seed) for pair in pairs for mode in MODES]


def ablated(pairs: Sequence[Pair], config: StyleConfig, seed: int) -> list[Entry]:
    """Every pair in all of `variants`."""
    return [
        entry(pair, "ablation", name, changed, seed) for pair in pairs for name, changed in variants(config).items()
    ]


def entry(pair: Pair, group: str, setting: str, config: StyleConfig, seed: int) -> Entry:
    """A picture without its final contrast, as it is measured; the contrast is raised where it is shown or judged."""
    words = re.sub(r"[^a-z]+", "_", setting)
    name = f"{pair.name}_{words if group == 'comparison' else f'ablation_{words}'}"
    mask = pair.subject.mask if config.mode == "artisan" else None
    measured = config.updated({"contrast": 1.0})
    return Entry(pair, group, setting, Job(name, pair.subject.photo, pair.style, pair.prompt, measured, seed, mask))


def ablation_pairs(pairs: Sequence[Pair], count: int) -> list[Pair]:
    """Up to ``count`` pairs with people, alternating selfies and tour photos, and styles."""
    by_kind: dict[str, dict[Subject, None]] = {"selfie": {}, "tour photo": {}}
    for pair in pairs:
        if pair.subject.kind in by_kind and pair.subject.people < 1:
            by_kind[pair.subject.kind][pair.subject] = None
    turns = chain.from_iterable(zip_longest(*by_kind.values()))
    subjects = [subject for subject in turns if subject is not None]
    known = {(pair.subject, pair.style): pair for pair in pairs}
    styles = list(dict.fromkeys(pair.style for pair in pairs))
    if not subjects:
        return []
    chosen = [
        (subjects[turn % len(subjects)], styles[(turn + turn // len(subjects)) % len(styles)]) for turn in range(count)
    ]
    return [known[key] for key in dict.fromkeys(chosen)]


def variants(config: StyleConfig) -> dict[str, StyleConfig]:
    """The settings of the ablation by name: both modes, each control alone, all, and all but each.

    All start from random weights with the paper's losses only: strengths and the pixel loss, which are ours, would act
    along with the penalty. Without controls, people have the background's weight and threshold and no patch budget, and
    the whole patch decides its region; there the deciding window alone changes nothing, as both regions are the same.
    """
    paper = preset("paper", {"size": config.size, "patches": config.patches, **ABLATION})
    active, neutral = control_settings(paper, True), control_settings(paper, False)
    none = paper
    for changes in neutral.values():
        none = none.updated(changes)
    clipstyler, no_global = paper.updated({"mode": "clipstyler"}), {"lambda_direction": 0.0}
    return {
        "clipstyler": clipstyler,
        "clipstyler, no global loss": clipstyler.updated(no_global),
        NONE: none,
        **{f"{label} alone": none.updated(active[name]) for name, label in CONTROLS.items()},
        ALL: paper,
        **{f"all but {label}": paper.updated(neutral[name]) for name, label in CONTROLS.items()},
        f"{ALL}, no global loss": paper.updated(no_global),
    }


def control_settings(config: StyleConfig, active: bool) -> dict[str, dict[str, Any]]:
    """The settings of each of `CONTROLS`: those of ``config`` if it is active, else neutral ones."""
    portrait, background = config.regions.portrait, config.regions.background
    neutral = {"share": 1.0, "weight": background.weight, "threshold": background.threshold}
    values = {name: getattr(portrait, name) if active else value for name, value in neutral.items()}
    settings: dict[str, dict[str, Any]] = {
        name: {"regions": {"portrait": {name: value}}} for name, value in values.items()
    }
    return {**settings, "decision": {"decision": config.decision if active else 1.0}}
