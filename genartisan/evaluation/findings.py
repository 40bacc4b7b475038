"""The findings of a comparison: in how many pairs each loss is lower, medians, and the aims."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from genartisan.evaluation.comparison_measures import PARTS, SHARES, SIX, Row
from genartisan.evaluation.pairs import MODES
from genartisan.evaluation.photos import KINDS
from genartisan.evaluation.preservation import PRESERVATION
from genartisan.evaluation.report import Target

AIM = 0.9  # share of the pairs with people in which each loss is to be lower in artisan mode
HALVED = 0.5  # at most, the people's VGG distance over that of clipstyler mode
EQUAL = 1e-6  # relative; smaller differences are rounding
RowPair = tuple[Row, Row]  # clipstyler mode, artisan mode


@dataclass(frozen=True)
class Count:
    """In how many pairs a number is lower, equal or higher in artisan mode, and its medians."""

    lower: int
    equal: int
    higher: int
    median_clipstyler: float | None
    median_artisan: float | None
    median_ratio: float | None  # of artisan mode's to clipstyler mode's, where that is not 0

    @property
    def of(self) -> int:
        return self.lower + self.equal + self.higher

    @property
    def share(self) -> float | None:
        """Of pairs in which it is lower; None without pairs."""
        return self.lower / self.of if self.of else None

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "of": self.of, "share": self.share}


def pairs_of(rows: Sequence[Row]) -> list[RowPair]:
    """The two pictures of each photo and style."""
    by_pair: dict[str, dict[str, Row]] = {}
    for row in rows:
        if row["group"] == "comparison":
            by_pair.setdefault(row["pair"], {})[row["setting"]] = row
    clipstyler, artisan = MODES
    return [(both[clipstyler], both[artisan]) for both in by_pair.values()]


def of_kind(pairs: Sequence[RowPair], *kinds: str) -> list[RowPair]:
    """The pairs with photos of these `KINDS`."""
    return [pair for pair in pairs if pair[0]["kind"] in kinds]


def count(pairs: Sequence[RowPair], name: str) -> Count:
    """How a number compares, over the pairs that have it in both modes."""
    known = [(one[name], other[name]) for one, other in pairs if None not in (one.get(name), other.get(name))]
    equal = sum(math.isclose(one, other, rel_tol=EQUAL) for one, other in known)
    lower = sum(other < one and not math.isclose(one, other, rel_tol=EQUAL) for one, other in known)
    ratios = [other / one for one, other in known if one]
    return Count(
        lower,
        equal,
        len(known) - equal - lower,
        median([one for one, _ in known]),
        median([other for _, other in known]),
        median(ratios),
    )


def median(values: Sequence[float]) -> float | None:
    return statistics.median(values) if values else None


def findings(rows: Sequence[Row]) -> dict[str, Any]:
    """The numbers of the report's tables, for photos with people, for each kind, and for each part of the photo."""
    pairs = pairs_of(rows)
    groups = {"with people": of_kind(pairs, *KINDS[:2]), **{kind: of_kind(pairs, kind) for kind in KINDS}, "all": pairs}
    measures = [f"{part}_{name}" for part in PARTS for name in (*PRESERVATION, "lpips", "dists")]
    return {
        "losses": {
            group: {name: count(some, name).as_dict() for name in (*SIX, *SHARES)} for group, some in groups.items()
        },
        "preservation": {name: count(pairs, name).as_dict() for name in measures if any(name in row for row in rows)},
        "verdicts": {
            group: verdicts(some) for group, some in groups.items() if any("judge_place" in one for one, _ in some)
        },
    }


def verdicts(pairs: Sequence[RowPair]) -> dict[str, Any]:
    """The judge's verdicts on the pairs of which it judged both pictures."""
    judged = [pair for pair in pairs if all("judge_place" in row for row in pair)]
    by_mode = {}
    for index, mode in enumerate(MODES):
        rows = [pair[index] for pair in judged]
        by_mode[mode] = {
            "first": sum(row["judge_place"] == 1 for row in rows),
            "among three": sum(row["judge_place"] <= 3 for row in rows),
            "median probability": median([row["judge_probability"] for row in rows]),
            "median place": median([row["judge_place"] for row in rows]),
        }
    gains = [other["judge_probability"] - one["judge_probability"] for one, other in judged]
    down = [other["judge_place"] - one["judge_place"] for one, other in judged]
    return {
        "of": len(judged),
        **by_mode,
        "median steps down": median(down),
        "median gain": median(gains),
        "not worse": sum(gain >= 0 for gain in gains),
    }


def targets(results: dict[str, Any]) -> list[Target]:
    """The aims: losses and distances lower in artisan mode, and a background that the judge likes no less."""
    losses, preserved, judged = (results["findings"][name] for name in ("losses", "preservation", "verdicts"))
    with_people = losses["with people"]
    aims = []
    for name, loss in SIX.items():
        what = f"{loss.label} loss lower in artisan mode, of {with_people[name]['of']} pairs with people"
        aims.append(Target(what, with_people[name]["share"], "≥", AIM, "%"))
    of = with_people["direction"]["of"]
    what = f"People's VGG distance, artisan over clipstyler mode, median of {of} pairs"
    aims.append(Target(what, preserved["portrait_vgg"]["median_ratio"], "≤", HALVED))
    if verdict := judged.get("with people"):
        words = f"of the right style, artisan less clipstyler mode, median of {verdict['of']} pairs"
        aims.append(Target(f"Judge's place {words}", verdict["median steps down"], "≤", 0))
        aims.append(Target(f"Judge's probability {words}", verdict["median gain"], "≥", 0))
    return aims


def medians_by_setting(rows: Sequence[Row], names: Sequence[str]) -> dict[str, dict[str, float | None]]:
    """For each setting of the ablation, the median of each number over its pairs."""
    by_setting: dict[str, list[Row]] = {}
    for row in rows:
        if row["group"] == "ablation":
            by_setting.setdefault(row["setting"], []).append(row)
    return {
        setting: {name: median([row[name] for row in some if row.get(name) is not None]) for name in names}
        for setting, some in by_setting.items()
    }
