"""Figures of the embedded CLIP on held-out drawings and prompts."""

from __future__ import annotations

import random
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from genartisan.drawing.captions import CAPTIONS, COLOUR_WORDS, STOP, coloured_wish
from genartisan.drawing.drawings import Drawings
from genartisan.drawing.space import CLASSES, COLOURS, LOOKS, TECHNIQUES
from genartisan.method.text import TEMPLATES
from genartisan.networks.compact_clip import CompactClip, words_of
from genartisan.networks.normalization import standardized

SOURCE = "a Photo"
NEW_PHRASES = (
    "please paint it in {}", "turn this picture into {}", "I want {} here", "my cat in {} style",
    "{} look for our garden", "what would {} make of it", "a holiday snap gone {}", "{}: our wedding day, large print",
    "Grandma loves {}, so {}!",
)  # none of them in the captions  # fmt: skip
FAITHFUL = 0.3  # 1 - the background's threshold: patches of a finished drawing should exceed it


def embed_pictures(model: CompactClip, pictures: Tensor) -> Tensor:
    """Unit embeddings (N, D) of pictures (N, 3, H, W) in [0, 1]."""
    small = F.interpolate(pictures, (model.image_size, model.image_size), mode="bilinear", antialias=True)
    images = standardized(small, model.mean, model.std)
    parts = [model.encode_image(part) for part in images.split(64)]  # type: ignore[no-untyped-call]
    return F.normalize(torch.cat(parts), dim=1)


def embed_style(model: CompactClip, text: str) -> Tensor:
    """The normalised mean embedding over the 79 templates, (D,), as in the method."""
    return F.normalize(F.normalize(model.encode_text([t.format(text) for t in TEMPLATES]), dim=1).mean(0), dim=0)


@torch.no_grad()
def figures(model: CompactClip, held_out: Drawings) -> dict[str, Any]:
    """Accuracy over all and per class.

    - retrieval: share of held-out photos and drawings in their own colours whose text, among all classes, is nearest.
    - coloured: share of the drawings in a colour word's colours whose sentence ("purple watercolor painting") is the
      nearest of the twelve of its technique.
    - direction: mean cosine of (patch - photo) and the text direction, the photo a random held-out one; what 1 - tau is
      compared with. `passed` is the share above 0.3, the background's threshold.
    - texts, word_orders: see `read_texts`.
    """
    pictures = torch.from_numpy(held_out.pictures).permute(0, 3, 1, 2).float() / 255
    looks = [LOOKS[number] for number in held_out.looks]
    plain = torch.tensor([number < len(CLASSES) for number in held_out.looks.tolist()])
    labels = torch.tensor([CLASSES.index(look.technique or CLASSES[0]) for look in looks])
    images = embed_pictures(model, pictures)  # (N, D)
    source = embed_style(model, SOURCE)  # (D,)
    texts = torch.stack([source, *(embed_style(model, name) for name in TECHNIQUES)])  # (K, D)
    correct = (images @ texts.T).argmax(1) == labels
    photos = images[labels == 0]
    partner = photos[torch.arange(len(images)) % len(photos)]  # (N, D)
    directions = F.normalize(texts - source, dim=1)  # (K, D), zeros for the photo
    reached = (F.normalize(images - partner, dim=1) * directions[labels]).sum(1)  # (N,)
    table = {}
    for number, name in enumerate(CLASSES):
        in_class = plain & (labels == number)
        table[name] = {"retrieval": _rounded(correct[in_class].float().mean())}
        if number:
            passed = (reached[in_class] > FAITHFUL).float().mean()
            table[name] |= {"direction": _rounded(reached[in_class].mean()), "passed": _rounded(passed)}
    coloured = []
    for image, look, is_plain in zip(images, looks, plain, strict=True):
        if not is_plain:
            prompts = F.normalize(model.encode_text([f"{colour} {look.technique}" for colour in COLOURS]), dim=1)
            coloured.append(COLOURS[int((prompts @ image).argmax())] == look.colour)
    return {
        "pictures": int(plain.sum()),
        "retrieval": _rounded(correct[plain].float().mean()),
        "coloured": _rounded(torch.tensor(coloured).float().mean()),
        **read_texts(model),
        "classes": table,
    }


@torch.no_grad()
def read_texts(model: CompactClip, count: int = 2000, seed: int = 12) -> dict[str, float]:
    """Accuracy of the text tower on held-out prompts.

    - texts: every caption in each of NEW_PHRASES; correct if nearest to its technique.
    - word_orders: the same for captions with shuffled words and unknown ones among them.
    - coloured_texts: "purple watercolor" and the like in NEW_PHRASES; correct if nearest to its technique in its
      colour, among all techniques in all colours.
    """
    rng = random.Random(seed)
    styles = torch.stack([embed_style(model, name) for name in TECHNIQUES])  # (K, D)
    texts = [(p.format(t, t), k) for k, name in enumerate(TECHNIQUES) for t in CAPTIONS[name] for p in NEW_PHRASES]
    orders = []
    for _ in range(count):
        number = rng.randrange(len(TECHNIQUES))
        words = [word for word in words_of(rng.choice(CAPTIONS[TECHNIQUES[number]])) if word not in STOP]
        words += rng.choices(("zebra", "garden", "our", "holiday", "quietly"), k=rng.randrange(4))
        rng.shuffle(words)
        orders.append((" ".join(words), number))
    coloured_styles = [embed_style(model, f"{colour} {name}") for name in TECHNIQUES for colour in COLOUR_WORDS]
    coloured = []
    for _ in range(count):
        technique, colour = rng.randrange(len(TECHNIQUES)), rng.randrange(len(COLOURS))
        wish = coloured_wish(TECHNIQUES[technique], COLOURS[colour], rng)
        if wish.colour is not None:
            text = rng.choice(NEW_PHRASES).format(wish.text, wish.text)
            coloured.append((text, technique * len(COLOURS) + colour))
    return {
        "texts": _accuracy(model, texts, styles),
        "word_orders": _accuracy(model, orders, styles),
        "coloured_texts": _accuracy(model, coloured, torch.stack(coloured_styles)),
    }


def _accuracy(model: CompactClip, cases: list[tuple[str, int]], known: Tensor) -> float:
    embeddings = model.encode_text([text for text, _ in cases])
    correct = (F.normalize(embeddings, dim=1) @ known.T).argmax(1) == torch.tensor([number for _, number in cases])
    return _rounded(correct.float().mean())


def _rounded(value: Tensor) -> float:
    return round(float(value), 3)
