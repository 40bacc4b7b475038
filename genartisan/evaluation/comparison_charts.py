"""The charts of a comparison, after the paper's figures 8 to 11: every loss over the styles, and its mean."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genartisan.evaluation.comparison_findings import RowPair
from genartisan.evaluation.comparison_measures import PARTS
from genartisan.evaluation.preservation import PRESERVATION
from genartisan.evaluation.six_losses import MODES, SIX
from genartisan.io.atomic import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = {"clipstyler": "#b35806", "artisan": "#2166ac"}  # told apart by those who see no red or green, too
DPI = 100
ABLATION_PANELS = {
    "portrait_vgg": "people's VGG distance", "portrait_ssim": "people's SSIM", "semantic_direction": "semantic global",
    "semantic_patch": "semantic patch", "judge_probability": "judge: right style",
}  # fmt: skip


def line_chart(pairs: Sequence[RowPair], title: str, path: Path) -> None:
    """A panel a loss: the mean over the photos for each style, and a faint dot for each photo (figures 8 and 10)."""
    styles = list(dict.fromkeys(one["style"] for one, _ in pairs))
    figure, panels = panels_of(2, 3, (13, 7.5), title)
    for axis, (name, loss) in zip(panels, SIX.items(), strict=True):
        for place, mode in enumerate(MODES):
            values = [
                [p[place][name] for p in pairs if p[0]["style"] == s and p[place][name] is not None] for s in styles
            ]
            for number, own in enumerate(values):
                axis.plot([number] * len(own), own, ".", color=COLOURS[mode], alpha=0.25)
            means = [statistics.mean(own) if own else float("nan") for own in values]
            axis.plot(range(len(styles)), means, "o-", color=COLOURS[mode], label=mode)
        axis.set_title(loss.label, fontsize=10)
        axis.set_xticks(
            range(len(styles)),
            [shortened(style).replace("$", r"\$") for style in styles],
            rotation=35,
            ha="right",
            fontsize=8,
        )
    finish(figure, panels[0], path)


def bar_chart(pairs: Sequence[RowPair], title: str, path: Path) -> None:
    """A panel a loss: its mean in both modes, and its deviation over the pairs (figures 9 and 11)."""
    figure, panels = panels_of(1, 6, (13, 3.6), title)
    for axis, (name, loss) in zip(panels, SIX.items(), strict=True):
        for place, mode in enumerate(MODES):
            bar(axis, place, [pair[place][name] for pair in pairs if pair[place][name] is not None], mode)
        axis.set_title(loss.label, fontsize=10)
        axis.set_xticks([])
    finish(figure, panels[0], path)


def preservation_chart(pairs: Sequence[RowPair], path: Path) -> None:
    """A panel a measure: what is kept of the people and of the background, the mean in both modes."""
    figure, panels = panels_of(1, len(PRESERVATION), (10, 3.8), "What is kept of the photo, in pairs with people")
    for axis, (measure, label) in zip(panels, PRESERVATION.items(), strict=True):
        for group, part in enumerate(PARTS):
            name = f"{part}_{measure}"
            for place, mode in enumerate(MODES):
                values = [pair[place][name] for pair in pairs if pair[place][name] is not None]
                bar(axis, 2.6 * group + place, values, mode if group == 0 else None, COLOURS[mode])
        axis.set_xticks([0.5, 3.1], ["people", "background"])
        axis.set_title(f"{label} ({'lower' if measure == 'vgg' else 'higher'}: more alike)", fontsize=10)
    finish(figure, panels[0], path)


def ablation_chart(medians: dict[str, dict[str, float | None]], path: Path) -> None:
    """A panel a number: its median in every setting."""
    shown = {
        n: label for n, label in ABLATION_PANELS.items() if any(own.get(n) is not None for own in medians.values())
    }
    settings = list(medians)
    height = 1.2 + 0.32 * len(settings)
    figure, panels = panels_of(1, len(shown), (3.2 + 2.3 * len(shown), height), "Ablation, medians over the pairs")
    for axis, (name, label) in zip(panels, shown.items(), strict=True):
        values = [medians[setting].get(name) for setting in settings]
        colours = [COLOURS["clipstyler" if setting.startswith("clipstyler") else "artisan"] for setting in settings]
        axis.barh(range(len(settings)), [float("nan") if v is None else v for v in values], color=colours)
        axis.set_title(label, fontsize=10)
        axis.set_yticks(range(len(settings)), settings if axis is panels[0] else [""] * len(settings), fontsize=8)
        axis.invert_yaxis()
    finish(figure, None, path)


def panels_of(rows: int, columns: int, inches: tuple[float, float], title: str) -> tuple[Figure, list[Axes]]:
    """A figure, drawn without a screen, and its panels."""
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
    """The mean of some values, with their deviation."""
    if values:
        spread = statistics.pstdev(values)
        colour = colour or COLOURS[str(label)]
        style: dict[str, Any] = {"width": 0.9, "capsize": 3, "error_kw": {"alpha": 0.6}}
        axis.bar(place, statistics.mean(values), yerr=spread, color=colour, label=label, **style)


def finish(figure: Figure, labelled: Axes | None, path: Path) -> None:
    """Adds the legend of a panel and writes the file."""
    if labelled is not None:
        handles, labels = labelled.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=DPI, format=path.suffix.removeprefix("."))


def shortened(style: str, most: int = 18) -> str:
    return style if len(style) <= most else style[: most - 1] + "…"
