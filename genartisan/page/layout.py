"""The page's parts and where they stand."""

from __future__ import annotations

from typing import Any

import gradio as gr

from genartisan.config import MAX_OUTPUT, preset
from genartisan.page.gallery import STYLES
from genartisan.page.masks import BRUSHES
from genartisan.page.wishes import MIN_SIZE, OPTIMISED

Parts = dict[str, Any]  # components by name

FAST = preset("fast")
COMPARE = "Compare"
POSITIONS = {COMPARE: 50, "Before": 100, "After": 0}  # percent: of the slider in each view
PRESET_LABELS = {
    "draft": "Draft: one pass, about a second",
    "fast": "Fast: refines the draft, best for most photos",
    "paper": "Paper: the paper's 400 steps, many minutes without a GPU",
}
HEADER = "<h1>genartisan</h1><p>Restyle a photo by a sentence or a picture. The people in it stay recognisable.</p>"
EMPTY = (
    "<ol><li>Drop a photo, or use the sample.</li><li>Write a style, pick one, or drop a picture as the style.</li>"
    "<li>Press <b>Stylise</b>: the draft comes at once, then you watch it form.</li></ol>"
)
ABOUT_REGIONS = "With a photo, this shows what counts as people and what is background."
READY = "Ready when you are."
FIELDS = ("photo", "prompt", "style_image", "strength", "preset", "seed", "size", "settings", "mask")


def build_parts() -> Parts:
    """Lays out the page in the present `gr.Blocks`."""
    parts: Parts = {}
    gr.HTML(HEADER, elem_id="header")
    with gr.Row(visible=False, elem_id="server") as parts["server_row"]:
        parts["server"] = gr.HTML(elem_id="server-message")
        parts["retry"] = gr.Button("Try again", size="sm", scale=0, min_width=120, elem_id="retry")
    with gr.Row(elem_id="columns"):
        with gr.Column(scale=5, min_width=320, elem_id="controls"):
            _controls(parts)
        with gr.Column(scale=7, min_width=320, elem_id="stage"):
            _stage(parts)
    return parts


def _error(parts: Parts, field: str) -> None:
    parts[f"{field}_error"] = gr.HTML(visible=False, elem_classes="field-error", elem_id=f"{field}-error")


def _controls(parts: Parts) -> None:
    gr.HTML("<h2>Photo</h2>")
    parts["photo"] = gr.Image(
        label="Photo", sources=["upload", "webcam", "clipboard"], height=260, buttons=[], elem_id="photo"
    )
    _error(parts, "photo")
    parts["sample"] = gr.Button("Use the sample photo", size="sm", elem_id="sample")
    gr.HTML("<h2>Style</h2>")
    parts["prompt"] = gr.Textbox(
        label="Style in words", lines=2, max_lines=5, placeholder="Watercolor painting", elem_id="prompt",
        info='Or one for each: "person: pencil sketch; background: fire". Or a blend: "0.6 watercolor + 0.4 neon".',
    )  # fmt: skip
    _error(parts, "prompt")
    parts["gallery"] = gr.Radio(
        [style.label for style in STYLES], label="Pick a style", container=False, elem_id="gallery"
    )
    with gr.Accordion("A picture as the style", open=False, elem_id="style-panel") as parts["style_panel"]:
        parts["style_image"] = gr.Image(
            label="Style picture", sources=["upload", "clipboard"], height=200, buttons=[], elem_id="style-image"
        )
        parts["style_share"] = gr.Slider(
            0, 1, FAST.style_image_share, step=0.05, label="Share of the picture beside the words",
            info="1: the picture alone counts.", buttons=[], elem_id="style-share",
        )  # fmt: skip
    _error(parts, "style_image")
    gr.HTML("<h2>Strength</h2>")
    with gr.Row(elem_id="strengths"):
        for name, label in (("portrait", "People"), ("background", "Background")):
            parts[name] = gr.Slider(
                0, 1, FAST.regions[name].strength, step=0.05, label=label, min_width=140, buttons=[],
                elem_id=f"{name}-strength",
            )  # fmt: skip
    _error(parts, "strength")
    with gr.Accordion("Quality, size, seed", open=False, elem_id="more"):
        parts["preset"] = gr.Radio(
            [(label, name) for name, label in PRESET_LABELS.items()], value="fast",
            label="Quality", elem_id="preset",
        )  # fmt: skip
        _error(parts, "preset")
        with gr.Row():
            parts["size"] = gr.Textbox(
                str(OPTIMISED),
                label="Long side in pixels",
                info=f"{MIN_SIZE} to {MAX_OUTPUT}",
                min_width=140,
                elem_id="size",
            )
            parts["seed"] = gr.Textbox(
                "0", label="Seed", info="The same seed gives the same picture", min_width=140, elem_id="seed"
            )
        _error(parts, "size")
        _error(parts, "seed")
        parts["keep_colors"] = gr.Checkbox(label="Keep the photo's colours", elem_id="keep-colors")
        parts["settings"] = gr.UploadButton(
            "Load the settings of a picture (PNG)", file_types=[".png"], size="sm", elem_id="settings"
        )
        _error(parts, "settings")
    with gr.Row(elem_id="press"):
        parts["run"] = gr.Button("Stylise", variant="primary", elem_id="run")
        parts["cancel"] = gr.Button("Cancel", variant="stop", visible=False, elem_id="cancel")


def _stage(parts: Parts) -> None:
    parts["status"] = gr.HTML(f"<p>{READY}</p>", elem_id="status")
    parts["progress"] = gr.HTML(visible=False, elem_id="progress")
    with gr.Tabs(elem_id="views") as parts["views"]:
        with gr.Tab("Picture", id="picture", elem_id="picture-tab"):
            _picture(parts)
        with gr.Tab("People and background", id="regions", elem_id="regions-tab"):
            _regions(parts)


def _picture(parts: Parts) -> None:
    parts["empty"] = gr.HTML(EMPTY, elem_id="empty")
    parts["live"] = gr.Image(
        label="The picture so far", interactive=False, format="png", buttons=[], visible=False, elem_id="live"
    )
    parts["slider"] = gr.ImageSlider(
        label="Before and after", format="png", type="filepath", interactive=False, buttons=["fullscreen"],
        visible=False, max_height=640, elem_id="slider",
    )  # fmt: skip
    with gr.Row(visible=False, elem_id="actions") as parts["actions"]:
        parts["view"] = gr.Radio(list(POSITIONS), value=COMPARE, label="Show", container=False, elem_id="view")
        parts["download"] = gr.DownloadButton("Download PNG", size="sm", variant="primary", elem_id="download")
    with gr.Row(visible=False, elem_id="again") as parts["again"]:
        parts["less"] = gr.Button("Less style", size="sm", min_width=100, elem_id="less")
        parts["stronger"] = gr.Button("More style", size="sm", min_width=100, elem_id="stronger")
        parts["vary"] = gr.Button("Vary", size="sm", min_width=100, elem_id="vary")
        parts["four"] = gr.Button("Four seeds", size="sm", min_width=100, elem_id="four")
    parts["seeds"] = gr.Gallery(
        label="Four seeds: choose one", columns=4, height="auto", allow_preview=False, interactive=False, buttons=[],
        format="png", object_fit="contain", visible=False, elem_id="seeds",
    )  # fmt: skip
    parts["history"] = gr.Gallery(
        label="This sitting", columns=6, height="auto", allow_preview=False, interactive=False, buttons=[],
        format="png", object_fit="cover", visible=False, elem_id="history",
    )  # fmt: skip


def _regions(parts: Parts) -> None:
    parts["corrections"] = gr.Number(0, label="Corrections", visible="hidden", elem_id="corrections")
    parts["regions_text"] = gr.HTML(f"<p>{ABOUT_REGIONS}</p>", elem_id="regions-text")
    with gr.Column(visible=False, elem_id="regions-tools") as parts["regions"]:
        colours: list[str | tuple[str, float]] = [f"rgb{colour}" for colour in BRUSHES.values()]
        parts["editor"] = gr.ImageEditor(
            label="Paint people pink and background blue, then apply", type="pil", format="png", sources=(),
            transforms=(), layers=False, buttons=[], height=520, elem_id="editor",
            brush=gr.Brush(default_size=28, colors=colours, default_color=str(colours[0]), color_mode="fixed"),
        )  # fmt: skip
        with gr.Row():
            parts["apply"] = gr.Button("Apply the strokes", size="sm", variant="primary", elem_id="apply")
            parts["undo"] = gr.Button("Undo", size="sm", min_width=80, elem_id="undo")
            parts["reset"] = gr.Button("As it was found", size="sm", min_width=120, elem_id="reset")
        with gr.Accordion("Without a pointer", open=False, elem_id="keys-panel"):
            with gr.Row():
                parts["amount"] = gr.Slider(1, 40, 6, step=1, label="By pixels", buttons=[], elem_id="amount")
                parts["grow"] = gr.Button("Grow people", size="sm", min_width=120, elem_id="grow")
                parts["shrink"] = gr.Button("Shrink people", size="sm", min_width=120, elem_id="shrink")
            with gr.Row():
                parts["area"] = gr.Dropdown([], label="Area", elem_id="area")
                parts["area_people"] = gr.Button("Area is people", size="sm", min_width=120, elem_id="area-people")
                parts["area_background"] = gr.Button(
                    "Area is background", size="sm", min_width=120, elem_id="area-background"
                )
            for pair in ((("left", 25), ("right", 75)), (("top", 25), ("bottom", 75))):
                with gr.Row():
                    for name, value in pair:
                        parts[name] = gr.Slider(
                            0, 100, value, step=1, label=f"Rectangle: {name}, %", min_width=240, buttons=[],
                            elem_id=f"box-{name}",
                        )  # fmt: skip
            with gr.Row():
                parts["box_people"] = gr.Button("Rectangle is people", size="sm", elem_id="box-people")
                parts["box_background"] = gr.Button("Rectangle is background", size="sm", elem_id="box-background")
    _error(parts, "mask")
