"""Captions of the styles: the prompts that the embedded CLIP's text tower learns, and its vocabulary."""

from __future__ import annotations

import random
from dataclasses import dataclass

from genartisan.drawing.space import COLOURS, PHOTO, TECHNIQUES
from genartisan.method.text import TEMPLATES
from genartisan.networks.compact_clip import words_of

CAPTIONS: dict[str, tuple[str, ...]] = {
    PHOTO: (
        "a Photo", "photo", "photograph", "a photograph", "a picture", "picture", "a plain photo", "natural photo",
        "snapshot", "a realistic photo", "realistic photograph", "image", "an ordinary photograph", "camera picture",
        "photography",
    ),
    "sketch with black pencil": (
        "a sketch with black pencil", "sketch with black pencil", "pencil sketch", "pencil", "pencil drawing",
        "a drawing in graphite", "graphite sketch", "hand drawn pencil sketch", "sketch", "pencil hatching",
        "crosshatching", "graphite pencil on paper", "line drawing with pencil", "drawn with a black pencil",
    ),
    "the starry night by vincent van gogh": (
        "The Starry Night by Vincent van Gogh", "Starry Night by Vincent van Gogh", "van Gogh", "Vincent van Gogh",
        "Starry Night", "the starry night", "a starry night painting by van Gogh", "van Gogh's Starry Night", "starry",
        "van Gogh style painting", "painted by Vincent van Gogh", "starry sky", "swirling night sky",
        "post impressionism", "the night sky of van Gogh",
    ),
    "fire": (
        "fire", "Fire", "flames", "burning flames", "in flames", "on fire", "burning", "blaze", "hot lava", "lava",
        "inferno", "a burning fire", "made of fire", "flame", "bonfire", "wildfire", "blazing flames",
    ),
    "stained glass": (
        "stained glass", "a stained glass window", "stained glass panes", "church window", "stained-glass art",
        "leaded glass", "colorful stained glass window", "colourful glass window", "cathedral window", "tiffany glass",
        "window of stained glass", "glass", "gothic church window",
    ),
    "watercolor painting": (
        "Watercolor painting", "a watercolor painting", "Watercolor", "watercolour", "watercolour painting",
        "aquarelle", "watercolors", "water color painting", "watercolor art with thick brushstroke",
        "wet watercolor wash", "gouache", "a painting in watercolor", "painted in watercolour", "a wet aquarelle",
    ),
    "neon light": (
        "neon light", "neon", "neon lights", "neon sign", "glowing neon", "neon glow", "neon tube", "glowing tubes",
        "glowing lines in the dark", "neon tubes", "bright neon light at night", "neon signs", "led lights",
    ),
    "pop art": (
        "pop art", "Pop art style", "Andy Warhol", "Roy Lichtenstein", "halftone dots", "halftone", "Warhol print",
        "pop art by Andy Warhol", "pop", "screen print by Warhol", "ben day dots", "Lichtenstein", "Warhol",
    ),
    "the great wave off kanagawa by katsushika hokusai": (
        "The Great Wave off Kanagawa by Katsushika Hokusai", "the great wave off kanagawa", "great wave", "Hokusai",
        "Katsushika Hokusai", "the great wave by Hokusai", "ukiyo-e", "Japanese woodblock print",
        "ukiyo e woodblock print", "wave by hokusai", "Kanagawa", "woodblock print by Hokusai",
        "sea waves in a japanese print", "woodblock", "waves",
    ),
    "oil painting": (
        "oil painting", "an oil painting", "Oil", "oil on canvas", "oil paint", "thick oil paint", "impasto",
        "impasto painting", "an oil painting with thick brush strokes", "oil colour on canvas", "painted in oils",
        "impressionist oil painting", "Monet", "Claude Monet", "a painting by Rembrandt", "brush strokes", "Rembrandt",
        "palette knife painting", "acrylic painting",
    ),
    "the scream by edvard munch": (
        "The Scream by Edvard Munch", "the scream", "Edvard Munch", "Munch", "scream by Munch", "munch's scream",
        "scream", "expressionism", "an expressionist painting by Munch", "expressionist", "the scream by munch",
    ),
    "mosaic tiles": (
        "mosaic tiles", "mosaic", "a mosaic", "tile mosaic", "Roman mosaic", "byzantine mosaic", "tiles",
        "ceramic tiles", "made of small tiles", "mosaic of tiles", "tessera", "a mosaic floor", "tiled", "tesserae",
    ),
    "ink wash painting": (
        "ink wash painting", "ink wash", "sumi-e", "chinese ink painting", "ink painting", "sumi e ink",
        "japanese ink wash", "black ink", "ink on paper", "brush and ink", "ink", "calligraphy ink", "india ink wash",
        "a painting in ink", "shui mo",
    ),
    "green crystal": (
        "green crystal", "crystal", "green crystals", "emerald", "a green emerald", "gemstone", "green gem", "jade",
        "made of crystal", "crystal facets", "emerald crystal", "crystals", "faceted gem",
    ),
    "pointillism": (
        "pointillism", "pointillist painting", "Seurat", "Georges Seurat", "pointillism by Georges Seurat",
        "painted in dots", "small colored dots", "coloured dots", "pointillist", "Paul Signac", "a painting by Seurat",
        "stipple", "Signac", "divisionism",
    ),
    "pixel art": (
        "pixel art", "pixels", "8-bit", "8 bit pixel art", "retro game pixel art", "pixel", "16 bit", "minecraft",
        "pixel art from an old computer game", "pixelated art", "blocky pixels", "low resolution pixel art",
    ),
    "autumn leaves": (
        "autumn leaves", "fall leaves", "autumn", "fallen leaves", "leaves", "dry autumn leaves", "made of leaves",
        "foliage", "autumn foliage", "leaves in autumn", "leaf litter", "maple leaves",
    ),
    "cubism": (
        "cubism", "cubist painting", "Picasso", "Pablo Picasso", "a cubist portrait by Picasso", "Georges Braque",
        "analytic cubism", "cubist", "a painting by Braque", "Braque", "Juan Gris", "cubism by Pablo Picasso",
    ),
    "charcoal drawing": (
        "charcoal drawing", "charcoal", "a charcoal sketch", "drawn in charcoal", "charcoal on paper",
        "smudged charcoal", "soft charcoal strokes", "charcoal portrait", "burnt charcoal stick", "conte crayon",
    ),
    "woodcut": (
        "woodcut", "a woodcut print", "wood engraving", "linocut", "Albrecht Durer", "Durer", "woodcut by Durer",
        "medieval woodcut", "lino print", "engraving", "old woodcut illustration", "xylography",
    ),
    "comic book": (
        "comic book", "comic", "a comic book page", "comic book style", "cartoon", "comics", "comic strip",
        "cartoon ink", "graphic novel", "marvel comic", "manga", "a cartoon with bold outlines", "comic panel",
    ),
    "cyberpunk": (
        "cyberpunk", "cyberpunk city", "cyberpunk city at night", "blade runner", "synthwave", "vaporwave",
        "futuristic city", "cyber city", "glitch", "cyberpunk 2077", "retrowave", "futuristic cyberpunk",
    ),
    "blueprint": (
        "blueprint", "a blueprint", "architect's blueprint", "technical drawing", "blueprint drawing", "cyanotype",
        "engineering blueprint", "technical blueprint", "construction plan", "blueprint of a house",
    ),
    "stone wall": (
        "stone wall", "a stone wall", "stone", "wall of stones", "stones", "brick wall", "bricks", "masonry",
        "rock wall", "rough stone", "made of stone", "castle wall", "granite blocks", "cobblestone",
    ),
    "desert sand": (
        "desert sand", "desert", "sand", "sand dunes", "dunes", "the Sahara desert", "made of sand", "sandy desert",
        "rippled sand", "dune", "Sahara", "desert dunes", "sandstone",
    ),
    "golden": (
        "golden", "gold", "made of gold", "gold leaf", "golden metal", "polished gold", "hammered gold", "pure gold",
        "gilded", "a golden statue", "molten gold", "gold foil", "shiny gold",
    ),
    "snow and ice": (
        "snow and ice", "snow", "ice", "frozen", "frost", "winter", "icy", "snowy", "frozen ice", "ice crystals",
        "winter snow", "covered in snow", "covered in ice", "frosted", "glacier", "frosty winter",
    ),
}  # fmt: skip

COLOUR_WORDS: dict[str, tuple[str, ...]] = {
    "red": ("red", "red", "crimson", "scarlet", "ruby"),
    "orange": ("orange", "orange", "tangerine"),
    "yellow": ("yellow", "yellow", "lemon"),
    "green": ("green", "green", "olive"),
    "turquoise": ("turquoise", "turquoise", "teal", "cyan"),
    "blue": ("blue", "blue", "navy", "cobalt"),
    "purple": ("purple", "purple", "violet", "lilac"),
    "pink": ("pink", "pink", "rose", "magenta"),
    "brown": ("brown", "brown", "sepia", "chocolate"),
    "grey": ("grey", "gray", "monochrome", "silver"),
    "black": ("black", "black"),
    "white": ("white", "white"),
}

PHRASES = (
    "{}", "{}", "{}", "{} style", "in the style of {}", "in {} style", "{} art", "{}, artwork", "like {}", "as {}",
    "a {}", "make it look like {}", "the style of {}", "an artwork in the style of {}", "a portrait in the style of {}",
    "{} effect", "a beautiful {}", "the {}", "{} texture", "with {}", "picture in {} style", "{} look", "please {}",
    "my house as {}", "turn this into {}", "{} everywhere", "give me {}",
)  # fmt: skip
COLOURED = (
    "{colour} {style}", "a {colour} {style}", "{colour} {style}", "{style} in {colour}", "{style}, {colour}",
    "{style} in shades of {colour}", "{style} with {colour} colours", "{colour} tones, {style}",
    "{colour} colored {style}", "all {colour} {style}", "{style} made {colour}", "{style} but {colour}",
)  # fmt: skip
COLOUR_ALONE = (
    "{}", "{}", "{} colours", "in {}", "shades of {}", "all {}", "{} tones", "a {} picture", "the colour {}",
)  # fmt: skip
PAIRS = ("{} and {}", "{} with {}", "{} plus {}", "a mix of {} and {}", "{}, {}", "half {} half {}")


@dataclass(frozen=True)
class Wish:
    """A prompt and what it names: techniques, a colour word, both or neither (a photo)."""

    text: str
    techniques: tuple[str, ...] = ()
    colour: str | None = None


def vocabulary() -> list[str]:
    """All words of captions, colours, templates and phrases, sorted."""
    return sorted({word for sentence in (*_frames(), *_subjects()) for word in words_of(sentence)})


def keywords() -> list[str]:
    """The words of the vocabulary that name a style or a colour, sorted; not "painting", which phrases contain too."""
    frame = {word for sentence in (*_frames(), *CAPTIONS[PHOTO]) for word in words_of(sentence)} | STOP
    return sorted({word for sentence in _subjects() for word in words_of(sentence)} - frame)


def _frames() -> tuple[str, ...]:
    bare = {"style": "", "colour": ""}
    return (*TEMPLATES, *PHRASES, *PAIRS, *COLOUR_ALONE, *(frame.format(**bare) for frame in COLOURED))


def _subjects() -> tuple[str, ...]:
    return tuple(text for texts in (*CAPTIONS.values(), *COLOUR_WORDS.values()) for text in texts)


def random_wish(rng: random.Random) -> Wish:
    """A random prompt for training, perhaps with shuffled words and fillers."""
    wish = _random_subject(rng)
    text = rng.choice(TEMPLATES).format(wish.text) if rng.random() < 0.55 else wish.text
    words = text.split()
    if rng.random() < 0.15:
        rng.shuffle(words)
    if wish.techniques or wish.colour:
        for _ in range(rng.choice((0, 0, 0, 1, 2, 4))):
            words.insert(rng.randrange(len(words) + 1), rng.choice(FILLERS))
    return Wish(" ".join(words), wish.techniques, wish.colour)


def _random_subject(rng: random.Random) -> Wish:
    kind, technique = rng.random(), rng.choice(TECHNIQUES)
    if kind < 0.05:
        return Wish(rng.choice(CAPTIONS[PHOTO]))
    if kind < 0.15:
        colour = rng.choice(COLOURS)
        return Wish(rng.choice(COLOUR_ALONE).format(rng.choice(COLOUR_WORDS[colour])), (), colour)
    if kind < 0.27:
        other = rng.choice([name for name in TECHNIQUES if name != technique])
        pair = rng.choice(PAIRS).format(rng.choice(CAPTIONS[technique]), rng.choice(CAPTIONS[other]))
        return Wish(pair, (technique, other))
    if kind < 0.55:
        return coloured_wish(technique, rng.choice(COLOURS), rng)
    text = rng.choice(CAPTIONS[technique])
    return Wish(rng.choice(PHRASES).format(text) if rng.random() < 0.5 else text, (technique,))


def coloured_wish(technique: str, colour: str, rng: random.Random) -> Wish:
    """A prompt such as "a purple watercolor". Techniques that are black anyway get no colour from "black"."""
    texts = [text for text in CAPTIONS[technique] if not COLOUR_NAMES & set(words_of(text))]
    frame = rng.choice(COLOURED)
    text = frame.format(colour=rng.choice(COLOUR_WORDS[colour]), style=rng.choice(texts))
    is_usual = technique in BLACK and colour == "black"
    return Wish(text, (technique,), None if is_usual else colour)


COLOUR_NAMES = {word for words in COLOUR_WORDS.values() for word in words}
BLACK = ("sketch with black pencil", "ink wash painting")  # techniques that are black by themselves
STOP = frozenset(
    words_of("a an and art as at by e for from in it made of off on s the to with color colour colored coloured")
)
FILLERS = sorted(
    {word for frame in (*TEMPLATES, *PHRASES) for word in words_of(frame)}
    - {word for text in _subjects() for word in words_of(text)}
    | set(words_of("my this that is please very nice dog cat house and with of the a"))
)
