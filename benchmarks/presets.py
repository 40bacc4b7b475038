"""Preset by preset: photo, draft, fast and paper side by side, and whether a judge names their style.

    python benchmarks/presets.py --size 384 --device cuda --graphs --resume

All at one size. The judge, which had no part in making the pictures, sees the background only. With --resume a picture
that is in the working folder, of the same photo, words, settings, seed and networks, is not made again, on whatever
machine it was made: the JSON says of each on what kind of device, and how long it took. It and a sheet, a row a photo
and style, go to benchmarks/results.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

from PIL import Image

from genartisan.config import preset
from genartisan.evaluate import chosen_styles, default_photos, job_name, prompt_of, verdict
from genartisan.evaluation_jobs import Job, Machine, make_all
from genartisan.evaluation_measures import provenance
from genartisan.flags import add_device_flags, add_graphs_flag
from genartisan.images import read_photo
from genartisan.judge import Judge
from genartisan.regions import RegionMap
from genartisan.sheets import contact_sheet

HERE = Path(__file__).resolve().parent
ORDER = ("draft", "fast", "paper")
SEED = 0


def main() -> None:
    arguments = parse()
    machine = Machine.chosen(arguments)
    stylizer, judge = machine.stylizer(), Judge.load(arguments.judge)
    pairs = [(photo, style) for style in chosen_styles(arguments.styles) for photo in arguments.photos]
    jobs = {name: [job_of(*pair, name, arguments.size) for pair in pairs] for name in ORDER}
    for name in ORDER:  # one picture after another: so their seconds can be compared
        make_all(jobs[name], arguments.work / name, machine, processes=1, resume=arguments.resume, anywhere=True)
    regions = {photo: stylizer.regions(read_photo(photo)) for photo in arguments.photos}
    rows = {name: [told(judge, regions[job.photo], job, arguments.work / name) for job in jobs[name]] for name in ORDER}
    result = {
        **provenance("benchmarks/presets.py", stylizer, SEED),
        "size": arguments.size,
        "summary": {name: summary(rows[name]) for name in ORDER},
        "pictures": rows,
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    sheet = [
        [
            (f"{photo.stem}\n{style}", Image.open(photo)),
            *(cell(name, rows[name][number], jobs[name][number].picture(arguments.work / name)) for name in ORDER),
        ]
        for number, (photo, style) in enumerate(pairs)
    ]
    half = -(-len(sheet) // 2)
    sheet = [left + right for left, right in zip_longest(sheet[:half], sheet[half:], fillvalue=[])]
    contact_sheet(sheet, side=200).save(arguments.out.with_suffix(".jpg"), quality=85)
    print(json.dumps(result["summary"], indent=1))
    print(arguments.out)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=384, help="long side in pixels, of all presets")
    parser.add_argument("--styles", nargs="+", default=["all"], help="names of styles")
    parser.add_argument("--photos", nargs="+", type=Path, default=list(default_photos()))
    parser.add_argument("--bundle", default="embedded", help="embedded, official or a folder; with a learned start")
    parser.add_argument("--judge", type=Path, default=HERE.parent / "tests" / "judge")
    parser.add_argument("--resume", action="store_true", help="keep the pictures that are made already")
    add_device_flags(parser)
    add_graphs_flag(parser)
    parser.add_argument("--work", type=Path, default="out/presets", help="folder of the pictures, by preset")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "presets.json")
    return parser.parse_args()


def job_of(photo: Path, style: str, name: str, size: int) -> Job:
    return Job(job_name(photo, style), photo, style, prompt_of(style), preset(name, {"size": size}), SEED)


def told(judge: Judge, regions: RegionMap, job: Job, folder: Path) -> dict[str, Any]:
    """The judge's verdict on a picture's background, and how it was made."""
    picture, report = read_photo(job.picture(folder)), job.report(folder)
    background = ~regions.resized(picture.size).portrait
    made = {"device": report["device"], "precision": report["precision"], "seconds": report["seconds"]["total"]}
    made["graphs"] = bool(report["made_from"].get("graphs"))
    return {**verdict(judge, job, picture.pixels, background), **made}


def summary(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """How often the style is named first, or among three; how long a picture took."""
    return {
        "pictures": len(rows),
        "named": sum(row["place"] == 1 for row in rows),
        "among_three": sum(row["place"] <= 3 for row in rows),
        "mean_probability": round(statistics.mean(row["probability"] for row in rows), 3),
        "median_seconds": round(statistics.median(row["seconds"] for row in rows), 2),
        "device": sorted({f"{row['device']}, {row['precision']}" for row in rows}),
    }


def cell(name: str, row: dict[str, Any], picture: Path) -> tuple[str, Image.Image]:
    seen = "named" if row["place"] == 1 else f"taken for {row['taken_for']}"
    return f"{name}\n{seen}", Image.open(picture)


if __name__ == "__main__":
    main()
