"""The pictures of the reports: sheets of pictures (the paper's figures 7 and 12) and charts (figures 8 to 11)."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image
from torchvision.transforms.functional import adjust_contrast

from genartisan.evaluation.comparison_measures import PARTS, SIX, Row
from genartisan.evaluation.findings import RowPair, medians_by_setting, of_kind, pairs_of
from genartisan.evaluation.pairs import ALL, CONTROLS, GLOBAL_ABLATION, MODES, NONE
from genartisan.evaluation.preservation import PRESERVATION
from genartisan.io.atomic import replacing, write_whole
from genartisan.io.contact_sheet import as_jpeg, contact_sheet
from genartisan.io.images import read_photo, to_image

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SHEET_SIDE = 144  # pixels of a picture on a sheet
SHEET_BYTES = 900_000
STYLES_IN_A_ROW = 2  # of the judged table's sheets
PHOTOS_ON_A_SHEET = 4  # of a comparison, to bound its bytes
ABLATION_SIDE = 200  # pixels
KINDS = {
    "selfies": ("selfie", "Selfies", (8, 9)),
    "tour": ("tour photo", "Tour photos", (10, 11)),
    "none": ("no people", "Photos without people", None),
}  # by the name of the file: the kind, its title, and its figures in the paper
CONTROL_ABLATION = (
    NONE, *(f"{c} alone" for c in CONTROLS.values()), ALL, *(f"all but {c}" for c in CONTROLS.values()),
)  # fmt: skip
COLOURS = {"clipstyler": "#b35806", "artisan": "#2166ac"}  # distinct without seeing red or green
DPI = 100
ABLATION_PANELS = {
    "portrait_vgg": "people's VGG distance", "portrait_ssim": "people's SSIM", "semantic_direction": "semantic global",
    "semantic_patch": "semantic patch", "judge_probability": "judge: right style",
}  # fmt: skip
Captioned = dict[str, tuple[Path, str]]  # files and captions by name


def file_of(document: Path, name: str) -> Path:
    """A picture of a report: in ``pictures`` beside the document, and named after it."""
    folder = document.parent / "pictures"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{document.stem}-{name}"


def row_sheet(photos: Sequence[Path], pictures: Sequence[tuple[dict[str, Any], Path]], path: Path) -> None:
    """A row of the judged table under its photos; where the judge was wrong, the caption says how.

    Args:
        pictures: the measures and the file of each, style by style, in the order of the photos.
    """
    styles = [pictures[first : first + len(photos)] for first in range(0, len(pictures), len(photos))]
    columns = min(STYLES_IN_A_ROW, len(styles))
    lines = [[("photo", thumbnail(photo)) for photo in photos] * columns]
    for first in range(0, len(styles), columns):
        some = [each for style in styles[first : first + columns] for each in style]
        lines.append([(caption(each["style"], each["taken_for"], "taken for"), thumbnail(file)) for each, file in some])
    write_whole(path, as_jpeg(contact_sheet(lines, SHEET_SIDE), SHEET_BYTES))


def caption(style: str, taken_for: str, words: str) -> str:
    """The style, and below it what the judge took the picture for if that is another one."""
    return f"{style}\n{'' if taken_for == style else f'{words} {taken_for}'}"


def thumbnail(path: Path) -> Image.Image:
    """A small copy of a picture file; the full size of all would need a lot of memory."""
    with Image.open(path) as picture:
        small = picture.convert("RGB")
    small.thumbnail((2 * SHEET_SIDE, 2 * SHEET_SIDE))
    return small


@dataclass(frozen=True)
class Figures:
    """The figures of a comparison.

    Attributes:
        document: the Markdown file.
        work: folder of the pictures.
        photos: their files, by their subjects in the rows.
        contrast: of the final pictures.
    """

    document: Path
    work: Path
    photos: dict[str, Path]
    contrast: float

    def draw_all(self, rows: Sequence[Row]) -> Captioned:
        """Draws every sheet and chart."""
        figures = self.draw_kinds(pairs_of(rows)) | self.draw_ablation(rows)
        if with_people := of_kind(pairs_of(rows), "selfie", "tour photo"):
            file = file_of(self.document, "preservation.png")
            preservation_chart(with_people, file)
            words = f"What is preserved of people and background: means and deviations over {len(with_people)} pairs."
            figures["preservation"] = file, words
        return figures

    def draw_kinds(self, all_pairs: Sequence[RowPair]) -> Captioned:
        """For each kind of photo a sheet and, with people, its losses."""
        figures: Captioned = {}
        for name, (kind, title, numbers) in KINDS.items():
            if not (pairs := of_kind(all_pairs, kind)):
                continue
            sheet, lines, bars = (
                file_of(self.document, file) for file in (f"{name}.jpg", f"lines-{name}.png", f"bars-{name}.png")
            )
            self.comparison_sheet(pairs, sheet)
            figures[name] = sheet, f"{title}: clipstyler mode above, artisan mode below (after figure 12)."
            if numbers is None:
                continue
            line_chart(pairs, f"{title}: losses by style", lines)
            words = f"each loss by style, the mean over the photos and a dot for each (after figure {numbers[0]})."
            figures[f"lines-{name}"] = lines, f"{title}: {words}"
            bar_chart(pairs, f"{title}: mean losses", bars)
            words = f"the mean of each loss and its deviation over {len(pairs)} pairs (after figure {numbers[1]})."
            figures[f"bars-{name}"] = bars, f"{title}: {words}"
        return figures

    def draw_ablation(self, rows: Sequence[Row]) -> Captioned:
        """The ablation's chart and its two sheets; empty without an ablation."""
        medians = medians_by_setting(rows, list(ABLATION_PANELS))
        if not medians:
            return {}
        chart = file_of(self.document, "ablation.png")
        ablation_chart(medians, chart)
        figures = {"ablation": (chart, "The ablation: medians over the pairs.")}
        for name, settings, words in (
            ("ablation-global", GLOBAL_ABLATION, "With and without the global loss, in both modes (after figure 7)."),
            (
                "ablation-controls",
                CONTROL_ABLATION,
                "The four patch controls: none, each alone, all, and all but each.",
            ),
        ):
            sheet = file_of(self.document, f"{name}.jpg")
            self.ablation_sheet(rows, settings, sheet)
            figures[name] = sheet, words
        return figures

    def comparison_sheet(self, pairs: Sequence[RowPair], path: Path) -> None:
        """Two rows a photo, clipstyler mode above artisan mode, a column a style (figure 12)."""
        rows = []
        for name in list(dict.fromkeys(one["subject"] for one, _ in pairs))[:PHOTOS_ON_A_SHEET]:
            of_photo = [pair for pair in pairs if pair[0]["subject"] == name]
            for place in range(2):
                first = of_photo[0][place]
                cells = [(f"{first['photo']}\n{first['setting']} mode", self.photo(name))]
                for row in (pair[place] for pair in of_photo):
                    words = caption(row["style"], row.get("judge_taken_for") or row["style"], "seen as")
                    cells.append((words, self.picture(row)))
                rows.append(cells)
        write_whole(path, as_jpeg(contact_sheet(rows, SHEET_SIDE), SHEET_BYTES))

    def ablation_sheet(self, rows: Sequence[Row], settings: Sequence[str], path: Path) -> None:
        """A row a pair: the photo, and its picture in each setting (figure 7)."""
        lines = []
        for pair in dict.fromkeys(row["pair"] for row in rows if row["group"] == "ablation"):
            by_setting = {row["setting"]: row for row in rows if row["pair"] == pair and row["group"] == "ablation"}
            first = by_setting[settings[0]]
            pictures = [(setting + "\n", self.picture(by_setting[setting])) for setting in settings]
            lines.append([(f"photo\n{first['style']}", self.photo(first["subject"])), *pictures])
        side = ABLATION_SIDE if len(settings) < 8 else SHEET_SIDE
        write_whole(path, as_jpeg(contact_sheet(lines, side), SHEET_BYTES))

    def picture(self, row: Row) -> Image.Image:
        """A small copy of a picture with its final contrast."""
        picture: Image.Image = adjust_contrast(thumbnail(self.work / row["file"]), self.contrast)
        return picture

    def photo(self, subject: str) -> Image.Image:
        """A small copy of a photo, which may be in any format and turned by EXIF."""
        image = to_image(read_photo(self.photos[subject]).pixels)
        image.thumbnail((2 * SHEET_SIDE, 2 * SHEET_SIDE))
        return image


def line_chart(pairs: Sequence[RowPair], title: str, path: Path) -> None:
    """A panel a loss: the mean over the photos for each style, and a faint dot for each photo (figures 8 and 10)."""
    styles = list(dict.fromkeys(one["style"] for one, _ in pairs))
    figure, panels = panels_of(2, 3, (13, 7.5), title)
    for axis, (name, loss) in zip(panels, SIX.items(), strict=True):
        for place, mode in enumerate(MODES):
            values = [
                [p[place][name] for p in pairs if p[0]["style"] == s and p[place][name] is not None] for s in styles
            ]
            for number, of_style in enumerate(values):
                axis.plot([number] * len(of_style), of_style, ".", color=COLOURS[mode], alpha=0.25)
            means = [statistics.mean(of_style) if of_style else float("nan") for of_style in values]
            axis.plot(range(len(styles)), means, "o-", color=COLOURS[mode], label=mode)
        axis.set_title(loss.label, fontsize=10)
        axis.set_xticks(
            range(len(styles)),
            [shortened(style).replace("$", r"\$") for style in styles],
            rotation=35,
            ha="right",
            fontsize=8,
        )
    save(figure, panels[0], path)


def bar_chart(pairs: Sequence[RowPair], title: str, path: Path) -> None:
    """A panel a loss: its mean and deviation over the pairs in both modes (figures 9 and 11)."""
    figure, panels = panels_of(1, 6, (13, 3.6), title)
    for axis, (name, loss) in zip(panels, SIX.items(), strict=True):
        for place, mode in enumerate(MODES):
            bar(axis, place, [pair[place][name] for pair in pairs if pair[place][name] is not None], mode)
        axis.set_title(loss.label, fontsize=10)
        axis.set_xticks([])
    save(figure, panels[0], path)


def preservation_chart(pairs: Sequence[RowPair], path: Path) -> None:
    """A panel a measure: the mean for people and background in both modes."""
    figure, panels = panels_of(1, len(PRESERVATION), (10, 3.8), "What is preserved of the photo, in pairs with people")
    for axis, (measure, label) in zip(panels, PRESERVATION.items(), strict=True):
        for group, part in enumerate(PARTS):
            name = f"{part}_{measure}"
            for place, mode in enumerate(MODES):
                values = [pair[place][name] for pair in pairs if pair[place][name] is not None]
                bar(axis, 2.6 * group + place, values, mode if group == 0 else None, COLOURS[mode])
        axis.set_xticks([0.5, 3.1], ["people", "background"])
        axis.set_title(f"{label} ({'lower' if measure == 'vgg' else 'higher'}: more alike)", fontsize=10)
    save(figure, panels[0], path)


def ablation_chart(medians: dict[str, dict[str, float | None]], path: Path) -> None:
    """A panel a number: its median in every setting."""
    measured = {
        n: label for n, label in ABLATION_PANELS.items() if any(one.get(n) is not None for one in medians.values())
    }
    settings = list(medians)
    height = 1.2 + 0.32 * len(settings)
    figure, panels = panels_of(
        1, len(measured), (3.2 + 2.3 * len(measured), height), "Ablation, medians over the pairs"
    )
    for axis, (name, label) in zip(panels, measured.items(), strict=True):
        values = [medians[setting].get(name) for setting in settings]
        colours = [COLOURS["clipstyler" if setting.startswith("clipstyler") else "artisan"] for setting in settings]
        axis.barh(range(len(settings)), [float("nan") if v is None else v for v in values], color=colours)
        axis.set_title(label, fontsize=10)
        axis.set_yticks(range(len(settings)), settings if axis is panels[0] else [""] * len(settings), fontsize=8)
        axis.invert_yaxis()
    save(figure, None, path)


def panels_of(rows: int, columns: int, inches: tuple[float, float], title: str) -> tuple[Figure, list[Axes]]:
    """A figure that needs no screen, and its panels."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=inches, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=12)
    axes: Any = figure.subplots(rows, columns, squeeze=False)
    for axis in axes.flat:
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(labelsize=8)
    return figure, list(axes.flat)


def bar(axis: Axes, place: float, values: Sequence[float], label: str | None, colour: str | None = None) -> None:
    """The mean of values with their deviation."""
    if values:
        spread = statistics.pstdev(values)
        colour = colour or COLOURS[str(label)]
        style: dict[str, Any] = {"width": 0.9, "capsize": 3, "error_kw": {"alpha": 0.6}}
        axis.bar(place, statistics.mean(values), yerr=spread, color=colour, label=label, **style)


def save(figure: Figure, labelled: Axes | None, path: Path) -> None:
    """Adds the legend of a panel and writes the file."""
    if labelled is not None:
        handles, labels = labelled.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=DPI, format=path.suffix.removeprefix("."))


def shortened(style: str, most: int = 18) -> str:
    return style if len(style) <= most else style[: most - 1] + "…"
