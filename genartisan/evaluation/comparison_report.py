"""The report of a comparison: tables, the paper's figures from our pictures, and how they were measured."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from genartisan.evaluation.comparison_measures import PARTS, SEPARATOR, SETS, SHARES, SIX, Row
from genartisan.evaluation.findings import AIM, HALVED, medians_by_setting, targets
from genartisan.evaluation.pairs import MODES
from genartisan.evaluation.photos import KINDS, MIN_PEOPLE, MIN_SELFIE
from genartisan.evaluation.preservation import PRESERVATION
from genartisan.evaluation.report import about_judge, aims, origin
from genartisan.io.documents import Block, Heading, Picture, Table, Text

GROUPS = ("with people", *KINDS)
MEDIANS = ("Clipstyler, median", "Artisan, median", "Ratio, median")
ABLATION_COLUMNS = {
    **{name: loss.label for name, loss in SIX.items()},
    "portrait_vgg": "people: VGG", "portrait_ssim": "people: SSIM", "portrait_edges": "people: edges",
    "judge_probability": "judge",
}  # fmt: skip
# Likely reasons, by what each mode minimises; they are not proven.
REASONS = {
    "direction": "clipstyler mode minimises this very loss, people and all; artisan mode never sees it, and leaves in "
    "the picture the people who hold it back.",
    "patch": "clipstyler mode minimises this very loss. In artisan mode few crops lie on people, those count less and "
    "are left alone sooner, so that crops on people stay above τ here.",
    "content": "both modes minimise it with the same weight, against style losses that differ: what is not spent on "
    "people is spent on the background.",
    "tv": "both modes minimise it, with a weight that is small beside the others: it follows how much a picture has of "
    "strokes in the background and of the photo's own detail on people.",
    "semantic_direction": "artisan mode minimises this very loss. Clipstyler mode styles the background as part of the "
    "whole, by all of its crops, and the people who are blacked out here do not hold it back.",
    "semantic_patch": "artisan mode minimises this very loss, and a crop on people counts in it by its own weight "
    "only; but a crop that clipstyler mode has styled below τ, on people or beside them, counts for nothing, and "
    "crops on the background hold parts of people, too, whom artisan mode keeps.",
}


def blocks_of(results: dict[str, Any], pictures: dict[str, tuple[Path, str]]) -> list[Block]:
    """The whole document.

    Args:
        pictures: the files of sheets and charts with their captions, by name.
    """
    findings = results["findings"]
    blocks: list[Block] = [
        *origin("Artisan mode against clipstyler mode", results),
        *setting_of(results),
        *aims(targets(results)),
        *(Text(sentence) for sentence in missed(findings)),
        Heading("The six losses"),
        loss_table(findings["losses"]["with people"]),
        Text(
            "Pairs with people, as in the paper's claim. Losses are without their weights; less is better. By kind of "
            "photo, the number of pairs in which artisan mode is lower / equal / higher:"
        ),
        kind_table(findings["losses"]),
        *shown_pictures(pictures, "lines-selfies", "bars-selfies", "lines-tour", "bars-tour"),
        Heading("The people"),
        preservation_table(findings["preservation"]),
        *(Text(reason) for reason in results["not_measured"]),
        *shown_pictures(pictures, "preservation"),
    ]
    if verdicts := findings["verdicts"]:
        words = about_judge(results["judge"]) + verdict_gain(verdicts)
        blocks += [Heading("The background, judged"), verdict_table(verdicts), Text(words)]
    blocks += [Heading("The pictures"), *shown_pictures(pictures, "selfies", "tour", "none")]
    blocks += ablation_blocks(results, pictures)
    return [*blocks, Heading("How it was measured"), *(Text(words) for words in method(results))]


def shown_pictures(pictures: dict[str, tuple[Path, str]], *names: str) -> list[Block]:
    """Those of the names that were drawn; a kind of photo may be absent."""
    return [Picture(*pictures[name]) for name in names if name in pictures]


def setting_of(results: dict[str, Any]) -> list[Block]:
    """The settings and the photos."""
    settings, config = results["settings"], results["settings"]["config"]
    photos = tuple((one["photo"], one["kind"], f"{one['people']:.1%}", one["mask"]) for one in settings["photos"])
    return [
        Text(
            f"Preset {settings['preset']}, {config['size']} px, {config['steps']} steps, seed {settings['seed']}; "
            f"{len(photos)} photos × {len(settings['styles'])} styles in both modes. Styles: "
            f"{'; '.join(settings['styles'])}."
        ),
        Table(("Photo", "Kind", "People", "Mask"), photos),
        Text(
            f"Where people fill at least {MIN_SELFIE:.0%} of a photo it is a selfie, with fewer a tour photo, and "
            f"below {MIN_PEOPLE:.1%} a photo without people, where the modes are the same, or nearly."
        ),
        *(Text(f"Warning: {warning}.") for warning in (*settings["warnings"], *run_warnings(results["pictures"]))),
    ]


def run_warnings(rows: Sequence[Row]) -> list[str]:
    """The warnings of the pictures and their numbers, without those of prompts, which the settings have."""
    warnings = [warning for row in rows for warning in row["warnings"].split(SEPARATOR)]
    counts = Counter(warning for warning in warnings if warning and not warning.startswith("prompt"))
    return [f"{warning} ({times} pictures)" for warning, times in counts.items()]


def missed(findings: dict[str, Any]) -> list[str]:
    """A sentence or two on each aim that is missed."""
    counts = findings["losses"]["with people"]
    sentences = []
    for name, loss in SIX.items():
        count = counts[name]
        if count["share"] is None or count["share"] >= AIM:
            continue
        sentences.append(
            f"Finding: the {loss.label} loss is lower in artisan mode in {count['lower']} of {count['of']} pairs with "
            f"people (in the median {shown(count['median_ratio'])} times clipstyler mode's). The likely reason: "
            f"{REASONS[name]}{by_region(counts) if name == 'semantic_patch' else ''}"
        )
    ratio = findings["preservation"]["portrait_vgg"]["median_ratio"]
    if ratio is not None and ratio > HALVED:
        sentences.append(
            f"Finding: the people's VGG distance is {shown(ratio)} times clipstyler mode's, not half of it."
        )
    return sentences


def by_region(counts: dict[str, Any]) -> str:
    """How much crops on people and on the background add to the semantic patch loss."""
    people, background = (counts[name] for name in SHARES)
    return (
        f" Measured: crops on people add {shown(people['median_artisan'])} to it in artisan mode and "
        f"{shown(people['median_clipstyler'])} in clipstyler mode, crops on the background "
        f"{shown(background['median_artisan'])} and {shown(background['median_clipstyler'])} (medians); what the "
        f"background adds is lower in artisan mode in {background['lower']} of {background['of']} pairs."
    )


def loss_table(counts: dict[str, Any]) -> Table:
    about = {
        **{name: (loss.label, loss.about) for name, loss in SIX.items()},
        **{n: (w, "") for n, w in SHARES.items()},
    }
    rows = ((*words, lower_of(counts[name]), *medians(counts[name])) for name, words in about.items())
    return Table(("Loss", "Sees", "Lower in artisan", *MEDIANS), tuple(rows))


def lower_of(count: dict[str, Any]) -> str:
    return f"{count['lower']} of {count['of']}"


def medians(count: dict[str, Any]) -> tuple[str, ...]:
    """The cells of `MEDIANS`."""
    return tuple(shown(count[name]) for name in ("median_clipstyler", "median_artisan", "median_ratio"))


def kind_table(losses: dict[str, Any]) -> Table:
    groups = [group for group in GROUPS if any(count["of"] for count in losses[group].values())]
    labels = {**{name: loss.label for name, loss in SIX.items()}, **SHARES}
    rows = []
    for name, label in labels.items():
        counts = [losses[group][name] for group in groups]
        rows.append((label, *(f"{count['lower']} / {count['equal']} / {count['higher']}" for count in counts)))
    return Table(("Loss", *groups), tuple(rows))


def preservation_table(counts: dict[str, Any]) -> Table:
    labels = {**PRESERVATION, "lpips": "LPIPS", "dists": "DISTS"}
    rows = []
    for part in PARTS:
        for measure, label in labels.items():
            if (count := counts.get(f"{part}_{measure}")) is None:
                continue
            better = count["lower"] if measure in ("vgg", "lpips", "dists") else count["higher"]
            name = "people" if part == "portrait" else part
            rows.append((name, label, *medians(count), f"{better} of {count['of']}"))
    return Table(("Part", "Measure", *MEDIANS, "More preserved in artisan"), tuple(rows))


def verdict_table(verdicts: dict[str, Any]) -> Table:
    rows = []
    for group, verdict in verdicts.items():
        for mode in MODES if verdict["of"] else ():
            of_mode = verdict[mode]
            places = (f"{of_mode[name]} of {verdict['of']}" for name in ("first", "among three"))
            rows.append((group, mode, *places, shown(of_mode["median probability"]), shown(of_mode["median place"])))
    columns = ("Photos", "Mode", "Right style first", "Among three", "Probability, median", "Place, median")
    return Table(columns, tuple(rows))


def verdict_gain(verdicts: dict[str, Any]) -> str:
    """How often the judge's probability is no lower in artisan mode, with people."""
    verdict = verdicts.get("with people", {"of": 0})
    if not verdict["of"]:
        return ""
    return (
        f" In {verdict['not worse']} of {verdict['of']} pairs with people its probability of the right style is at "
        f"least as high in artisan mode; the median gain is {verdict['median gain']:+.3f}."
    )


def ablation_blocks(results: dict[str, Any], pictures: dict[str, tuple[Path, str]]) -> list[Block]:
    """The paper's figure 7 and the four controls; empty without an ablation."""
    by_setting = medians_by_setting(results["pictures"], list(ABLATION_COLUMNS))
    if not by_setting:
        return []
    columns = {
        n: label for n, label in ABLATION_COLUMNS.items() if any(one[n] is not None for one in by_setting.values())
    }
    rows = tuple((setting, *(shown(one[name]) for name in columns)) for setting, one in by_setting.items())
    pairs = {
        row["pair"]: f"{row['photo']}: {row['style']}" for row in results["pictures"] if row["group"] == "ablation"
    }
    return [
        Heading("Ablation"),
        Text(
            f"Medians over {len(pairs)} pairs with people ({'; '.join(pairs.values())}), from random weights, with the "
            "paper's losses only: no strengths and no pixel loss, which are ours. Without controls, people have the "
            "background's weight and threshold and no patch budget, and the whole patch decides its region; the global "
            "loss is still that of the background. There the deciding window alone changes nothing, as both regions "
            "are the same: its effect shows in all but deciding window."
        ),
        Table(("Setting", *columns.values()), rows),
        *shown_pictures(pictures, "ablation", "ablation-global", "ablation-controls"),
    ]


def method(results: dict[str, Any]) -> list[str]:
    """Paragraphs."""
    contrast = results["settings"]["config"]["contrast"]
    paper = results["settings"]["measured_with"]
    return [
        f"The six losses of both pictures are measured with the same {SETS} sets of {paper['patches']} crops of "
        f"{paper['patch_size']} px, drawn from a separate seed, with the paper's thresholds: τ "
        f"{paper['threshold']:g} in clipstyler mode, {paper['regions']['portrait']['threshold']:g} on people and "
        f"{paper['regions']['background']['threshold']:g} on the background in artisan mode. No picture was made with "
        "these crops. Photo, region map and text direction are the same for both pictures.",
        "The saved picture is measured, rounded to 8 bits, without its final contrast; sheets and judge have it at "
        f"contrast {contrast:g}.",
        "The VGG distance compares maps of the bundle's VGG, each pixel's features at length 1, averaged over the "
        "part. It is built as LPIPS is, with two maps only, relu4_2 and relu5_2, and no learned weights: it ranks "
        "pictures of one photo, and cannot be compared with published values. SSIM is scikit-image's, with a Gaussian"
        " window of 1.5 px; edges are the correlation of Sobel gradients. For each, the part is pasted from the "
        "picture into the photo, so that nothing beyond it counts.",
        "Drawn scenes come from the generator of FCN's training, with numbers that it never saw; their masks are "
        "exact. Other photos have FCN's mask.",
    ]


def shown(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
