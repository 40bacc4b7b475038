"""What a comparison found, for people: tables, the paper's figures from our own pictures, and how it was measured."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from genartisan.evaluation.comparison_findings import AIM, HALVED, medians_by_setting, targets
from genartisan.evaluation.comparison_measures import PARTS, SEPARATOR, Row
from genartisan.evaluation.comparison_subjects import KINDS, PEOPLE, SELFIE
from genartisan.evaluation.preservation import PRESERVATION
from genartisan.evaluation.six_losses import SETS, SHARES, SIX
from genartisan.io.documents import Block, Code, Heading, Picture, Table, Text

GROUPS = ("with people", *KINDS)
ABLATION_COLUMNS = {
    **{name: loss.label for name, loss in SIX.items()},
    "portrait_vgg": "people: VGG", "portrait_ssim": "people: SSIM", "portrait_edges": "people: edges",
    "judge_probability": "judge",
}  # fmt: skip
# What each mode minimises explains what it may miss; that it does so is not proven by it.
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
    found = results["findings"]
    blocks: list[Block] = [
        Heading("Artisan mode against clipstyler mode", 1),
        Text("Written by the command below; do not edit."),
        Code(results["command"]),
        *setting_of(results),
        Heading("What was aimed at"),
        Table(("What", "Measured", "Aim", "Reached"), tuple(aim.cells() for aim in targets(results))),
        *(Text(reason) for reason in missed(found)),
        Heading("The six losses"),
        loss_table(found["losses"]["with people"]),
        Text(
            "Pairs with people: the paper's claim is about them. A loss is without its weight, and less is better. "
            "The same by kind of photo, in how many pairs artisan mode is lower / equal / higher:"
        ),
        kind_table(found["losses"]),
        *(
            Picture(*pictures[name])
            for name in ("lines-selfies", "bars-selfies", "lines-tour", "bars-tour")
            if name in pictures
        ),
        Heading("The people"),
        preservation_table(found["preservation"]),
        *(Text(reason) for reason in results["not_measured"]),
        *(Picture(*pictures[name]) for name in ("preservation",) if name in pictures),
    ]
    if found["verdicts"]:
        blocks += [Heading("The background, judged"), verdict_table(found["verdicts"]), Text(verdict_words(results))]
    blocks += [Heading("The pictures")]
    blocks += [Picture(*pictures[name]) for name in ("selfies", "tour", "none") if name in pictures]
    blocks += ablation_blocks(results, pictures)
    return [*blocks, Heading("How it was measured"), *(Text(words) for words in method(results))]


def setting_of(results: dict[str, Any]) -> list[Block]:
    """The machine, the settings and the photos."""
    settings, machine, config = results["settings"], results["hardware"], results["settings"]["config"]
    photos = tuple(
        (one["photo"], one["kind"], f"{one['people']:.1%}", "true" if one["mask"] == "true" else "found by FCN")
        for one in settings["photos"]
    )
    return [
        Text(
            f"Bundle {results['bundle']['name']} ({results['bundle']['sha256'][:12]}), {results['date'][:10]}. "
            f"{machine['processor']}, {machine['threads']} threads, on {machine['device']}; {machine['system']}, "
            f"Python {machine['python']}, PyTorch {machine['torch']}."
        ),
        Text(
            f"Preset {settings['preset']}, {config['size']} px, {config['steps']} steps, seed {settings['seed']}; "
            f"{len(photos)} photos × {len(settings['styles'])} styles in both modes. Styles: "
            f"{'; '.join(settings['styles'])}."
        ),
        Table(("Photo", "Kind", "People", "Mask"), photos),
        Text(
            f"A photo of which people fill {SELFIE:.0%} or more is a selfie here, one with fewer a tour photo, and one "
            f"with less than {PEOPLE:.1%} counts as one without people: there the modes are one, or nearly."
        ),
        *(Text(f"Warning: {warning}.") for warning in (*settings["warnings"], *of_runs(results["pictures"]))),
    ]


def of_runs(rows: Sequence[Row]) -> list[str]:
    """What could not be met when pictures were made, and in how many of them; what is said of prompts stands once."""
    told = [warning for row in rows for warning in row["warnings"].split(SEPARATOR)]
    counts = Counter(warning for warning in told if warning and not warning.startswith("prompt"))
    return [f"{warning} ({times} pictures)" for warning, times in counts.items()]


def missed(found: dict[str, Any]) -> list[str]:
    """A sentence or two on each loss that is not as often lower as was aimed at."""
    counts = found["losses"]["with people"]
    told = []
    for name, loss in SIX.items():
        own = counts[name]
        if own["share"] is None or own["share"] >= AIM:
            continue
        told.append(
            f"Finding: the {loss.label} loss is lower in artisan mode in {own['lower']} of {own['of']} pairs with "
            f"people (in the median {shown(own['median_ratio'])} times clipstyler mode's). The likely reason: "
            f"{REASONS[name]}{by_region(counts) if name == 'semantic_patch' else ''}"
        )
    distance = found["preservation"]["portrait_vgg"]["median_ratio"]
    if distance is not None and distance > HALVED:
        told.append(f"Finding: the people's VGG distance is {shown(distance)} times clipstyler mode's, not half of it.")
    return told


def by_region(counts: dict[str, Any]) -> str:
    """Which crops the semantic patch loss comes from."""
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
    rows = []
    for name, words in about.items():
        own = counts[name]
        medians = (shown(own[key]) for key in ("median_clipstyler", "median_artisan", "median_ratio"))
        rows.append((*words, f"{own['lower']} of {own['of']}", *medians))
    columns = ("Loss", "Sees", "Lower in artisan", "Clipstyler, median", "Artisan, median", "Ratio, median")
    return Table(columns, tuple(rows))


def kind_table(losses: dict[str, Any]) -> Table:
    groups = [group for group in GROUPS if any(own["of"] for own in losses[group].values())]
    labels = {**{name: loss.label for name, loss in SIX.items()}, **SHARES}
    rows = []
    for name, label in labels.items():
        own = [losses[group][name] for group in groups]
        rows.append((label, *(f"{one['lower']} / {one['equal']} / {one['higher']}" for one in own)))
    return Table(("Loss", *groups), tuple(rows))


def preservation_table(found: dict[str, Any]) -> Table:
    labels = {**PRESERVATION, "lpips": "LPIPS", "dists": "DISTS"}
    rows = []
    for part in PARTS:
        for measure, label in labels.items():
            own = found.get(f"{part}_{measure}")
            if own is None:
                continue
            better = own["lower"] if measure in ("vgg", "lpips", "dists") else own["higher"]
            medians = (shown(own[key]) for key in ("median_clipstyler", "median_artisan", "median_ratio"))
            rows.append(("people" if part == "portrait" else part, label, *medians, f"{better} of {own['of']}"))
    columns = ("Part", "Measure", "Clipstyler, median", "Artisan, median", "Ratio, median", "More kept in artisan")
    return Table(columns, tuple(rows))


def verdict_table(found: dict[str, Any]) -> Table:
    rows = []
    for group, told in found.items():
        if not told["of"]:
            continue
        for mode in ("clipstyler", "artisan"):
            own = told[mode]
            places = (f"{own[key]} of {told['of']}" for key in ("first", "among three"))
            rows.append((group, mode, *places, shown(own["median probability"]), shown(own["median place"])))
    columns = ("Photos", "Mode", "Right style first", "Among three", "Probability, median", "Place, median")
    return Table(columns, tuple(rows))


def verdict_words(results: dict[str, Any]) -> str:
    told = results["findings"]["verdicts"].get("with people", {"of": 0})
    accuracy = results["judge"]["figures"].get("held_out_accuracy")
    known = "" if accuracy is None else f" On held-out drawings it is right {accuracy:.1%} of the time."
    compared = (
        f" In {told['not worse']} of {told['of']} pairs with people its probability of the right style is at least as "
        f"high in artisan mode; the median gain is {told['median gain']:+.3f}."
        if told["of"]
        else ""
    )
    return (
        "The judge is a network of another kind than the bundle's CLIP, with no part in making the pictures. People "
        f"are painted grey before it looks.{known}{compared}"
    )


def ablation_blocks(results: dict[str, Any], pictures: dict[str, tuple[Path, str]]) -> list[Block]:
    """The paper's figure 7 and the four controls; nothing where no pair was taken apart."""
    medians = medians_by_setting(results["pictures"], list(ABLATION_COLUMNS))
    if not medians:
        return []
    columns = {n: label for n, label in ABLATION_COLUMNS.items() if any(own[n] is not None for own in medians.values())}
    rows = tuple((setting, *(shown(own[name]) for name in columns)) for setting, own in medians.items())
    pairs = {
        row["pair"]: f"{row['photo']}: {row['style']}" for row in results["pictures"] if row["group"] == "ablation"
    }
    return [
        Heading("Ablation"),
        Text(
            f"Medians over {len(pairs)} pairs with people ({'; '.join(pairs.values())}). Here the losses are the "
            "paper's alone, from random weights: no strengths and no pixel loss, which are ours. With no "
            "control, people get the background's weight and threshold and any number of patches, and the whole patch "
            "decides its region; the global loss is still that of the background. From there the deciding window alone "
            "can change nothing, for both regions get the same: what it does shows where all act but it."
        ),
        Table(("Setting", *columns.values()), rows),
        *(
            Picture(*pictures[name])
            for name in ("ablation", "ablation-global", "ablation-controls")
            if name in pictures
        ),
    ]


def method(results: dict[str, Any]) -> list[str]:
    """Paragraphs."""
    contrast = results["settings"]["config"]["contrast"]
    paper = results["settings"]["measured_with"]
    return [
        f"The six losses are measured of both pictures by the same {SETS} sets of {paper['patches']} crops of "
        f"{paper['patch_size']} px, drawn once from a seed of their own, with the paper's thresholds: τ "
        f"{paper['threshold']:g} in clipstyler mode, {paper['regions']['portrait']['threshold']:g} on people and "
        f"{paper['regions']['background']['threshold']:g} on the background in artisan mode. No picture was made with "
        "these crops. Photo, region map and text direction are the same for both pictures.",
        "Measured is the saved picture before its contrast is raised, rounded to 8 bits; "
        + (
            "the finished picture is the same here (contrast 1)."
            if contrast == 1
            else f"sheets and judge have it at contrast {contrast:g}."
        ),
        "The VGG distance compares maps of the bundle's own VGG, each pixel's features at length 1, averaged over the "
        "part. It is built as LPIPS is, but has no learned weights and two maps only, relu4_2 and relu5_2: it orders "
        "pictures of one photo, and is no number to hold against others'. SSIM is scikit-image's, with the Gaussian "
        "window of 1.5 px; edges are the correlation of Sobel gradients. For each the part is cut from the picture and "
        "laid into the photo, so that nothing beyond it counts.",
        "Drawn scenes are those that FCN's training is drawn from, with numbers that it never saw; their masks are "
        "true. Other photos have the mask that FCN finds.",
    ]


def shown(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
