"""What people call the styles: the sentences that the embedded CLIP's text tower learns, and its vocabulary."""

from __future__ import annotations

import random

from genartisan.compact_clip import words_of
from genartisan.text import TEMPLATES as FUNCTIONS

PHOTO = "photo"

CAPTIONS: dict[str, tuple[str, ...]] = {
    PHOTO: (
        "a Photo", "photo", "photograph", "a photograph", "a picture", "picture", "a plain photo", "natural photo",
        "snapshot", "a realistic photo", "realistic photograph", "image", "an ordinary photograph", "camera picture",
        "photography",
    ),
    "sketch with black pencil": (
        "a sketch with black pencil", "sketch with black pencil", "pencil sketch", "black pencil", "pencil drawing",
        "pencil", "a drawing in graphite", "graphite sketch", "black and white pencil sketch",
        "hand drawn pencil sketch", "sketch", "pencil hatching", "crosshatching", "a sketch with crayon",
        "line drawing with pencil", "drawn with a black pencil",
    ),
    "the starry night by vincent van gogh": (
        "The Starry Night by Vincent van Gogh", "Starry Night by Vincent van Gogh", "van Gogh", "Vincent van Gogh",
        "Starry Night", "the starry night", "a starry night painting by van Gogh", "van Gogh's Starry Night", "starry",
        "van Gogh style painting", "painted by Vincent van Gogh", "starry sky", "swirling night sky",
        "post impressionism",
    ),
    "fire": (
        "fire", "Fire", "flames", "burning flames", "in flames", "on fire", "burning", "blaze", "hot lava", "lava",
        "inferno", "a burning fire", "made of fire", "flame", "bonfire",
    ),
    "stained glass": (
        "stained glass", "a stained glass window", "stained glass mosaic", "church window", "stained-glass art",
        "leaded glass", "colorful stained glass window", "colourful glass window", "cathedral window",
        "mosaic of stained glass", "glass",
    ),
    "watercolor painting": (
        "watercolor painting", "a watercolor painting", "Watercolor", "watercolour", "watercolour painting",
        "aquarelle", "watercolors", "water color painting", "watercolor art with thick brushstroke",
        "wet watercolor wash", "gouache", "a painting in watercolor", "painted in watercolour",
    ),
    "neon light": (
        "neon light", "neon", "neon lights", "neon sign", "glowing neon", "neon glow", "cyberpunk",
        "cyberpunk neon lights", "glowing lines in the dark", "synthwave", "neon tubes", "bright neon light at night",
    ),
    "pop art": (
        "pop art", "Pop art style", "Andy Warhol", "Roy Lichtenstein", "a comic by Roy Lichtenstein", "halftone dots",
        "halftone", "Warhol print", "pop art by Andy Warhol", "comic book", "comic book style", "pop",
        "retro comic print", "ben day dots",
    ),
    "the great wave off kanagawa by katsushika hokusai": (
        "The Great Wave off Kanagawa by Katsushika Hokusai", "the great wave off kanagawa", "great wave", "Hokusai",
        "Katsushika Hokusai", "the great wave by Hokusai", "ukiyo-e", "Japanese woodblock print",
        "ukiyo e woodblock print", "wave by hokusai", "Kanagawa", "woodblock print by Hokusai",
        "sea waves in a japanese print", "woodblock",
    ),
    "oil painting": (
        "oil painting", "an oil painting", "Oil", "oil on canvas", "oil paint", "thick oil paint", "impasto",
        "impasto painting", "an oil painting with thick brush strokes", "oil colour on canvas", "painted in oils",
        "impressionist oil painting", "Monet", "Claude Monet", "a painting by Rembrandt", "brush strokes",
        "acrylic painting",
    ),
    "the scream by edvard munch": (
        "The Scream by Edvard Munch", "the scream", "Edvard Munch", "Munch", "scream by Munch", "munch's scream",
        "scream", "expressionism", "an expressionist painting by Munch", "expressionist", "the scream by munch",
    ),
    "mosaic tiles": (
        "mosaic tiles", "mosaic", "a mosaic", "tile mosaic", "Roman mosaic", "byzantine mosaic", "tiles",
        "ceramic tiles", "made of small tiles", "mosaic of stone tiles", "tessera", "a mosaic floor", "tiled",
        "tesserae",
    ),
    "ink wash painting": (
        "ink wash painting", "ink wash", "sumi-e", "chinese ink painting", "ink painting", "sumi e ink",
        "japanese ink wash", "black ink", "ink on paper", "brush and ink", "ink", "calligraphy ink", "india ink wash",
        "a painting in black ink",
    ),
    "green crystal": (
        "green crystal", "crystal", "green crystals", "emerald", "a green emerald", "gemstone", "green gem", "jade",
        "made of green crystal", "crystal facets", "emerald crystal", "low poly",
    ),
    "pointillism": (
        "pointillism", "pointillist painting", "Seurat", "Georges Seurat", "pointillism by Georges Seurat",
        "painted in dots", "small colored dots", "coloured dots", "pointillist", "Paul Signac", "a painting by Seurat",
        "stipple", "confetti",
    ),
    "pixel art": (
        "pixel art", "pixels", "8-bit", "8 bit pixel art", "retro game pixel art", "pixel", "16 bit", "minecraft",
        "pixel art from an old computer game", "pixelated art", "blocky pixels", "low resolution pixel art",
    ),
    "autumn leaves": (
        "autumn leaves", "fall leaves", "autumn", "fallen leaves", "leaves", "dry autumn leaves", "made of leaves",
        "foliage", "autumn foliage", "red and orange leaves", "leaves in autumn",
    ),
}  # fmt: skip

TEMPLATES = tuple(template("{}") for template in FUNCTIONS)
PHRASES = (
    "{}", "{}", "{}", "{} style", "in the style of {}", "in {} style", "{} art", "{}, artwork", "like {}", "as {}",
    "a {}", "make it look like {}", "the style of {}", "an artwork in the style of {}", "a portrait in the style of {}",
    "{} effect", "a beautiful {}", "the {}", "{} texture", "with {}", "picture in {} style",
)  # fmt: skip
PAIRS = ("{} and {}", "{} with {}", "{} plus {}", "a mix of {} and {}", "{}, {}", "half {} half {}")


def vocabulary() -> list[str]:
    """Every word of the captions, the templates and the phrases, sorted."""
    sentences = [*TEMPLATES, *PHRASES, *PAIRS, *(caption for captions in CAPTIONS.values() for caption in captions)]
    return sorted({word for sentence in sentences for word in words_of(sentence)})


def caption(name: str, rng: random.Random) -> str:
    """A random sentence for a style: one of its captions, in a phrase or in one of the 79 templates, or in both."""
    text = rng.choice(CAPTIONS[name])
    if name != PHOTO and rng.random() < 0.4:
        text = rng.choice(PHRASES).format(text)
    return rng.choice(TEMPLATES).format(text) if rng.random() < 0.6 else text


def mixture(first: str, second: str, rng: random.Random) -> str:
    """A random sentence that asks for two styles at once."""
    text = rng.choice(PAIRS).format(rng.choice(CAPTIONS[first]), rng.choice(CAPTIONS[second]))
    return rng.choice(TEMPLATES).format(text) if rng.random() < 0.5 else text
