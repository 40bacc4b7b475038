"""How much sooner preset `fast` reaches the loss that CLIPstyler's settings end with, and what each of its parts saves.

    python benchmarks/sooner.py --size 256 --pairs 8
    python benchmarks/sooner.py --size 256 --pairs 3 --parts --resume

Pictures are compared by the paper's total loss, always the same: the mean over four sets of its 64 patches, drawn once
from a seed of their own, on the picture at its full size. CLIPstyler's settings run to their end; of each other run is
noted where its loss is as low. The clock stops while a picture is looked at. Half of the pairs have texts that ask for
three styles at once, which the learned start never met; it met none of the photos. Besides `fast` there are settings
of it that go for this loss. A judge, which had no part in making the pictures, says of draft, `fast`, those and
CLIPstyler's settings whether they show a style that the text asks for.
The JSON, its plot and a sheet of the pictures go to benchmarks/results. Each pair is kept in the working folder as soon
as it is done, and with --resume not measured again on the same machine.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from genartisan.bundle import MANIFEST, Bundle, resolve, sha256
from genartisan.config import PRESETS, StyleConfig
from genartisan.engine import Run
from genartisan.evaluate import default_photos
from genartisan.evaluation_measures import hardware, provenance
from genartisan.flags import add_device_flags, add_graphs_flag
from genartisan.images import read_photo
from genartisan.judge import Judge
from genartisan.sheets import contact_sheet
from genartisan.stylenet import drawn
from genartisan.stylizer import Stylizer

HERE = Path(__file__).resolve().parent
SEED = 0
CLIPSTYLER = "CLIPstyler's settings"
TEXTS = {
    "The Starry Night by Vincent van Gogh": ("the starry night by vincent van gogh",),
    "fire, mosaic and purple": ("fire", "mosaic tiles"),
    "Watercolor painting": ("watercolor painting",),
    "a mix of neon light, stone wall and pop art": ("neon light", "stone wall", "pop art"),
    "Sketch with black pencil": ("sketch with black pencil",),
    "cubism, snow and gold": ("cubism", "snow and ice", "golden"),
    "Stained glass": ("stained glass",),
    "charcoal with autumn leaves and pixel art": ("charcoal drawing", "autumn leaves", "pixel art"),
}  # and the styles that each asks for, by the judge's names
EVERY = {CLIPSTYLER: 100}  # steps between two looks at a picture, where they are not those of `looks`
SETS = 4  # of patches, by which a picture is measured: of 64, each that passes the threshold is a jump

# `fast` goes for a judge's verdict; these changes of it go for the loss: full size all along, faster, with a margin.
LOSS_FIRST = {"steps": 100, "coarse_share": 0.0, "learning_rate": 2e-3, "halve_every": 50, "threshold": 0.67}
FOR_THE_LOSS = "fast, tuned to the loss"
ALL_PATCHES = "the same, 64 patches"

# What those change of the paper's settings, part by part. The rest concerns people and the finished picture.
PARTS: dict[str, tuple[str, ...]] = {
    "learned start": ("start",),
    "16 patches": ("patches",),
    "learning rate": ("learning_rate", "halve_every"),
    "margin": ("threshold",),
    "grain": ("grain",),
}
JUDGED = ("draft", "fast", FOR_THE_LOSS, CLIPSTYLER)

Pictures = dict[str, Image.Image]


def main() -> None:
    arguments = parse()
    result, sheet = measure(arguments)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    draw(result, arguments.out.with_suffix(".png"))
    sheet.save(arguments.out.with_suffix(".jpg"), quality=88)
    print(table(result))
    print(arguments.out)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=256, help="long side in pixels, of all runs")
    parser.add_argument("--pairs", type=int, default=8, choices=range(1, len(TEXTS) + 1), metavar="N")
    parser.add_argument("--steps", type=int, default=400, help="of CLIPstyler's settings")
    parser.add_argument("--parts", action="store_true", help="each part alone, and all but each")
    parser.add_argument("--bundle", default="embedded", help="embedded, official or a folder; with a learned start")
    parser.add_argument("--judge", type=Path, default=HERE.parent / "tests" / "judge")
    parser.add_argument("--work", type=Path, default="out/sooner", help="folder of finished pairs")
    parser.add_argument("--resume", action="store_true", help="keep the pairs that are measured already")
    add_device_flags(parser)
    add_graphs_flag(parser)
    parser.add_argument("--out", type=Path, help="the JSON file (default: results/sooner[_parts]_DEVICE_SIZE.json)")
    return parser.parse_args()


def measure(arguments: argparse.Namespace) -> tuple[dict[str, Any], Image.Image]:
    """Every pair under every setting, pair by pair: so all settings have the machine in the same state."""
    stylizer = Stylizer(
        Bundle.load(arguments.bundle), arguments.device, arguments.precision, prompt_bytes=0, graphs=arguments.graphs
    )
    judge = Judge.load(arguments.judge)
    name = f"sooner{'_parts' if arguments.parts else ''}_{stylizer.device.type}_{arguments.size}"
    arguments.out = arguments.out or HERE / "results" / f"{name}.json"
    configs = settings(arguments.size, arguments.steps, arguments.parts)
    measured_by = {
        "settings": {name: config.model_dump() for name, config in configs.items()},
        "bundle": sha256(resolve(arguments.bundle) / MANIFEST),
        "precision": stylizer.precision,
        "hardware": hardware(stylizer.device),
    }
    warm_up(stylizer, arguments.size)
    photos, pairs, rows = default_photos(), list[dict[str, Any]](), []
    with tqdm(total=arguments.pairs * len(configs), unit="run") as bar:
        for number, text in enumerate(list(TEXTS)[: arguments.pairs]):
            folder, photo = arguments.work / f"{name}_{number}", photos[number % len(photos)]
            made_from = {**measured_by, "photo": sha256(photo), "text": text}
            found = kept(folder, made_from) if arguments.resume else None
            if found is None:
                found = one_pair(stylizer, judge, photo, text, configs, bar)
                keep(folder, made_from, *found)
            else:
                bar.update(len(configs))
            pair, pictures = found
            pairs.append(pair)
            rows.append(row_of(photo, pair, pictures))
            tqdm.write(json.dumps({name: run["reached"] for name, run in pair["runs"].items() if name != CLIPSTYLER}))
    result = {
        **provenance("benchmarks/sooner.py", stylizer, SEED),
        "settings": measured_by["settings"],
        "summary": {name: summary(pairs, name) for name in configs if name != CLIPSTYLER},
        "style_named": {name: sum(pair["named"][name] for pair in pairs) for name in JUDGED},
        "pairs": pairs,
    }
    return result, contact_sheet(rows)


def one_pair(
    stylizer: Stylizer, judge: Judge, photo: Path, text: str, configs: Mapping[str, StyleConfig], bar: tqdm[Any]
) -> tuple[dict[str, Any], Pictures]:
    """A pair under every setting, CLIPstyler's first, whose last loss is what the others are to reach."""
    size = configs[CLIPSTYLER].size
    loss_of, target, runs = Evaluation(stylizer, photo, text, size), float("-inf"), dict[str, Any]()
    pictures = {"draft": stylizer(photo, text, config=draft_of(configs["fast"]), seed=SEED).image}
    for name, config in configs.items():
        bar.set_postfix_str(f"{photo.stem}, {text[:20]}, {name}")
        runs[name], picture = followed(
            stylizer, photo, text, config, loss_of, target, EVERY.get(name, 0), to_the_end=name in JUDGED
        )
        if name in JUDGED:
            pictures[name] = picture
        if name == CLIPSTYLER:
            target = runs[name]["curve"][-1]["loss"]
        bar.update()
    named = {name: judge.ranking(read_photo(pictures[name]).pixels)[0][0] in TEXTS[text] for name in JUDGED}
    return {"photo": photo.name, "text": text, "target": target, "named": named, "runs": runs}, pictures


def keep(folder: Path, made_from: dict[str, Any], pair: dict[str, Any], pictures: Pictures) -> None:
    """Writes a pair down; its JSON last, so that a folder that has one is whole."""
    folder.mkdir(parents=True, exist_ok=True)
    record = folder / "pair.json"
    record.unlink(missing_ok=True)
    for number, name in enumerate(JUDGED):
        pictures[name].save(folder / f"{number}.png")
    partial = record.with_suffix(".partial")
    partial.write_text(json.dumps({"made_from": made_from, "pair": pair}), encoding="utf-8")
    partial.replace(record)


def kept(folder: Path, made_from: dict[str, Any]) -> tuple[dict[str, Any], Pictures] | None:
    """The pair of a folder, if this very machine has measured it there, under these settings."""
    record = folder / "pair.json"
    if not record.is_file():
        return None
    found = json.loads(record.read_text(encoding="utf-8"))
    if found["made_from"] != made_from:
        return None
    return found["pair"], {name: Image.open(folder / f"{number}.png") for number, name in enumerate(JUDGED)}


def row_of(photo: Path, pair: dict[str, Any], pictures: Pictures) -> list[tuple[str, Image.Image]]:
    """Photo and what is `JUDGED`: captions say seconds, and what the judge thinks."""
    row = [(f"{photo.stem}\n{pair['text']}", Image.open(photo))]
    for name in JUDGED:
        seconds = f", {pair['runs'][name]['curve'][-1]['seconds']:.0f} s" if name in pair["runs"] else ""
        row.append((f"{name}{seconds}\n{'named' if pair['named'][name] else 'not named'} by the judge", pictures[name]))
    return row


def warm_up(stylizer: Stylizer, size: int) -> None:
    """Two steps from each start, which no clock sees."""
    for start in ("random", "bundle"):
        config = StyleConfig(mode="clipstyler", size=size, steps=2, start=start)
        stylizer(default_photos()[0], next(iter(TEXTS)), config=config)


def draft_of(config: StyleConfig) -> StyleConfig:
    """The same without a step."""
    return config.updated({"steps": 0, "coarse_share": 0.0})


def settings(size: int, steps: int, with_parts: bool) -> dict[str, StyleConfig]:
    """CLIPstyler's settings first, then those that are held against them; all see the whole photo as background."""
    paper = StyleConfig(mode="clipstyler", size=size, steps=steps)
    fast = {name: value for name, value in PRESETS["fast"].items() if name not in ("size", "regions")}
    chosen = {CLIPSTYLER: paper, "fast": paper.updated(fast)}
    chosen[FOR_THE_LOSS] = chosen["fast"].updated(LOSS_FIRST)
    chosen[ALL_PATCHES] = chosen[FOR_THE_LOSS].updated({"patches": paper.patches})
    if with_parts:
        tuned = {**fast, **LOSS_FIRST}
        for name, keys in PARTS.items():
            chosen[f"{name} alone"] = paper.updated({key: tuned[key] for key in keys})
            without = paper.updated({key: value for key, value in tuned.items() if key not in keys})
            if without not in chosen.values():  # CLIPstyler's patches are there already
                chosen[f"tuned without {name}"] = without
        chosen["tuned with coarse to fine"] = chosen[FOR_THE_LOSS].updated({"coarse_share": fast["coarse_share"]})
    return chosen


class Evaluation:
    """The paper's total loss of any picture of a photo: the same patches each time."""

    def __init__(self, stylizer: Stylizer, photo: Path, text: str, size: int) -> None:
        config = StyleConfig(mode="clipstyler", size=size, steps=SETS)
        self.run = begun(stylizer, photo, text, config, seed=SEED + 1)

    @torch.no_grad()
    def __call__(self, picture: Tensor) -> float:
        sets = [self.run.objective.losses_of(picture, self.run.full, number)[0] for number in range(SETS)]
        return float(torch.stack(sets).mean())


def begun(stylizer: Stylizer, photo: Path, text: str, config: StyleConfig, seed: int) -> Run:
    return stylizer.steps(photo, text, config=config, seed=seed).run


def followed(
    stylizer: Stylizer,
    photo: Path,
    text: str,
    config: StyleConfig,
    loss_of: Evaluation,
    target: float,
    every: int,
    to_the_end: bool,
) -> tuple[dict[str, Any], Image.Image]:
    """A run's losses in the course of its steps and seconds, until it reaches ``target`` or ends; and its picture."""
    seconds, curve = 0.0, list[dict[str, float]]()

    def timed(work: Callable[[], Any]) -> Any:
        nonlocal seconds
        began = time.perf_counter()
        done = work()
        if stylizer.device.type == "cuda":
            torch.cuda.synchronize(stylizer.device)
        seconds += time.perf_counter() - began
        return done

    run: Run = timed(lambda: begun(stylizer, photo, text, config, SEED))
    taken = 0
    for wanted in looks(config.steps, every):
        while taken < wanted:
            timed(lambda: next(run))
            taken += 1
        with torch.no_grad():
            loss = loss_of(drawn(run.stylenet, run.content, stylizer.dtype))
        curve.append({"step": taken, "seconds": round(seconds, 3), "loss": round(loss, 2)})
        if loss <= target and not to_the_end:
            break
    run.close()
    reached = next((point for point in curve if point["loss"] <= target), None)
    return {"reached": reached, "curve": curve}, run.picture()


def looks(steps: int, every: int) -> Iterator[int]:
    """The steps after which a picture is looked at: each at first, then fewer; and the last."""
    step = every
    while step < steps:
        yield step
        step += every or (1 if step < 5 else 5)
    yield steps


def summary(pairs: list[dict[str, Any]], name: str) -> dict[str, Any]:
    """The median over the pairs; a run that never reached the target counts as longer than any."""
    whole = [pair["runs"][CLIPSTYLER]["curve"][-1]["seconds"] for pair in pairs]
    reached = [pair["runs"][name]["reached"] for pair in pairs]
    steps = statistics.median([there["step"] if there else float("inf") for there in reached])
    gains = [own / there["seconds"] if there else 0.0 for own, there in zip(whole, reached, strict=True)]
    left = [pair["runs"][name]["curve"][-1]["loss"] / pair["target"] for pair in pairs]
    return {
        "reached": sum(there is not None for there in reached),
        "of": len(pairs),
        "median_steps": steps if steps < float("inf") else None,
        "median_times_sooner": round(statistics.median(gains), 2) if steps < float("inf") else None,
        "median_last_loss_over_target": round(statistics.median(left), 3),
    }


def table(result: dict[str, Any]) -> str:
    """The summary in Markdown."""
    rows = ["| settings | reached it | steps | times sooner | last loss / target |", "|---|---|---|---|---|"]
    for name, told in result["summary"].items():
        known = (told[key] for key in ("median_steps", "median_times_sooner"))
        steps, gain = ("-" if value is None else value for value in known)
        reached, last = f"{told['reached']} of {told['of']}", told["median_last_loss_over_target"]
        rows.append(f"| {name} | {reached} | {steps} | {gain} | {last} |")
    return "\n".join(rows)


def draw(result: dict[str, Any], path: Path) -> None:
    """A panel a pair: the loss over the seconds."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    colours = plt.get_cmap("tab20")
    pairs = result["pairs"]
    columns = min(4, len(pairs))
    rows = -(-len(pairs) // columns)
    legend = -(-len(result["settings"]) // columns)  # lines of it
    figure, axes = plt.subplots(
        rows, columns, figsize=(4 * columns, 3 * rows + legend / 5), squeeze=False, layout="constrained"
    )
    for axis, pair in zip(axes.flat, pairs, strict=False):
        for number, (name, run) in enumerate(pair["runs"].items()):
            seconds, losses = ([point[key] for point in run["curve"]] for key in ("seconds", "loss"))
            axis.plot(seconds, losses, marker=".", color=colours(number), label=name)
        axis.axhline(pair["target"], color="grey", linestyle=":")
        axis.set(xscale="log", yscale="log", xlabel="seconds", ylabel="loss")
        axis.set_title(f"{Path(pair['photo']).stem}\n{pair['text']}", fontsize=9)
    for axis in list(axes.flat)[len(pairs) :]:
        axis.axis("off")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, fontsize=8)
    figure.savefig(path, dpi=90)


if __name__ == "__main__":
    main()
