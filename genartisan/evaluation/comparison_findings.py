"""What the rows of a comparison say: in how many pairs a loss is lower, and the medians."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from genartisan.evaluation.comparison_measures import PARTS, Row
from genartisan.evaluation.comparison_subjects import KINDS
from genartisan.evaluation.preservation import PRESERVATION
from genartisan.evaluation.report import Target
from genartisan.evaluation.six_losses import MODES, SHARES, SIX

AIM = 0.9  # of the pairs with people, in which each loss is to be lower in artisan mode
HALVED = 0.5
EQUAL = 1e-6  # relative: what differs by less is rounding
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
        """In which it is lower; None of no pairs."""
        return self.lower / self.of if self.of else None

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "of": self.of, "share": self.share}


def pairs_of(rows: Sequence[Row]) -> list[RowPair]:
    """The two pictures of each photo and style."""
    found: dict[str, dict[str, Row]] = {}
    for row in rows:
        if row["group"] == "comparison":
            found.setdefault(row["pair"], {})[row["setting"]] = row
    clipstyler, artisan = MODES
    return [(both[clipstyler], both[artisan]) for both in found.values()]


def of_kind(pairs: Sequence[RowPair], *kinds: str) -> list[RowPair]:
    """Those of photos of these `KINDS`."""
    return [pair for pair in pairs if pair[0]["kind"] in kinds]


def count(pairs: Sequence[RowPair], name: str) -> Count:
    """How a number compares in all pairs that have it in both modes."""
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
    """All that the report's tables say, by photos with people, by each kind, and by the part of the photo."""
    pairs = pairs_of(rows)
    groups = {"with people": of_kind(pairs, *KINDS[:2]), **{kind: of_kind(pairs, kind) for kind in KINDS}, "all": pairs}
    measures = [f"{part}_{name}" for part in PARTS for name in (*PRESERVATION, "lpips", "dists")]
    return {
        "losses": {
            group: {name: count(own, name).as_dict() for name in (*SIX, *SHARES)} for group, own in groups.items()
        },
        "preservation": {name: count(pairs, name).as_dict() for name in measures if any(name in row for row in rows)},
        "verdicts": {group: verdicts(own) for group, own in groups.items() if any("judge_place" in a for a, _ in own)},
    }


def verdicts(pairs: Sequence[RowPair]) -> dict[str, Any]:
    """The judge's, on the backgrounds of those pairs that it judged both of."""
    judged = [pair for pair in pairs if all("judge_place" in row for row in pair)]
    told: dict[str, Any] = {"of": len(judged)}
    for place, mode in enumerate(MODES):
        own = [pair[place] for pair in judged]
        told[mode] = {
            "first": sum(row["judge_place"] == 1 for row in own),
            "among three": sum(row["judge_place"] <= 3 for row in own),
            "median probability": median([row["judge_probability"] for row in own]),
            "median place": median([row["judge_place"] for row in own]),
        }
    gains = [other["judge_probability"] - one["judge_probability"] for one, other in judged]
    down = [other["judge_place"] - one["judge_place"] for one, other in judged]
    return {
        **told,
        "median steps down": median(down),
        "median gain": median(gains),
        "not worse": sum(gain >= 0 for gain in gains),
    }


def targets(results: dict[str, Any]) -> list[Target]:
    """What was aimed at, and whether it was reached."""
    found = results["findings"]
    with_people = found["losses"]["with people"]
    some = next(iter(with_people.values()))["of"]
    aims = [
        Target(f"{loss.label} loss lower in artisan mode, of {with_people[name]['of']} pairs with people",
               with_people[name]["share"], "≥", AIM, "%")
        for name, loss in SIX.items()
    ]  # fmt: skip
    distance = found["preservation"]["portrait_vgg"]["median_ratio"]
    aims.append(
        Target(f"People's VGG distance, artisan over clipstyler mode, median of {some} pairs", distance, "≤", HALVED)
    )
    if "with people" in found["verdicts"]:
        told = found["verdicts"]["with people"]
        words = f"of the right style, artisan less clipstyler mode, median of {told['of']} pairs"
        aims.append(Target(f"Judge's place {words}", told["median steps down"], "≤", 0))
        aims.append(Target(f"Judge's probability {words}", told["median gain"], "≥", 0))
    return aims


def medians_by_setting(rows: Sequence[Row], names: Sequence[str]) -> dict[str, dict[str, float | None]]:
    """Of the ablation: for each setting, the median of each number over its pairs."""
    by_setting: dict[str, list[Row]] = {}
    for row in rows:
        if row["group"] == "ablation":
            by_setting.setdefault(row["setting"], []).append(row)
    return {
        setting: {name: median([row[name] for row in own if row.get(name) is not None]) for name in names}
        for setting, own in by_setting.items()
    }
