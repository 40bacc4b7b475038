"""How the page looks: theme, style sheet and script, all without any other host."""

from __future__ import annotations

import base64
from pathlib import Path

import gradio as gr

from genartisan.page.gallery import STYLES

FOLDER = Path(__file__).parent
FONTS = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif")  # of the visitor's machine
MONOSPACE = ("ui-monospace", "Consolas", "monospace")


def theme() -> gr.themes.Base:
    """Neutral greys and one accent whose contrast with white text is above 4.5:1, light and dark."""
    return gr.themes.Base(
        primary_hue="indigo", secondary_hue="indigo", neutral_hue="slate", font=FONTS, font_mono=MONOSPACE
    ).set(
        button_primary_background_fill="*primary_600",
        button_primary_background_fill_hover="*primary_700",
        button_primary_background_fill_dark="*primary_600",
        button_primary_background_fill_hover_dark="*primary_700",
        button_primary_text_color="white",
        button_primary_text_color_dark="white",
        block_label_text_color="*neutral_700",
        block_label_text_color_dark="*neutral_200",
        block_info_text_color="*neutral_600",
        block_info_text_color_dark="*neutral_300",
        body_text_color_subdued="*neutral_600",
        body_text_color_subdued_dark="*neutral_300",
        input_placeholder_color="*neutral_500",
        input_placeholder_color_dark="*neutral_400",
        block_shadow="none",
        block_shadow_dark="none",
    )


def css() -> str:
    """The style sheet with the gallery's thumbnails in it."""
    pictures = [
        f"#gallery label:nth-of-type({number}){{--thumbnail:url(data:image/jpeg;base64,{_base64(style.thumbnail)})}}"
        for number, style in enumerate(STYLES, start=1)
    ]
    return "\n".join([(FOLDER / "page.css").read_text(encoding="utf-8"), *pictures])


def head() -> str:
    """Lines for the document's head."""
    script = (FOLDER / "page.js").read_text(encoding="utf-8")
    return f'<link rel="icon" href="data:,"><script>{script}</script>'


def _base64(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()
