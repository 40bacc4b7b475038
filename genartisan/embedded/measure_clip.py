"""Held-out figures of the embedded CLIP: photos it never saw, freshly drawn, and sentences it never read."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from genartisan.compact_clip import CompactClip
from genartisan.embedded.captions import TEMPLATES
from genartisan.embedded.drawings import CLASSES, Drawings

SOURCE = "a Photo"
NEW_PHRASES = ("please paint it in {}", "turn this picture into {}", "{} look", "I want {} here", "my cat in {} style")


def embed_pictures(model: CompactClip, pictures: Tensor) -> Tensor:
    """Unit embeddings (N, D) of pictures (N, 3, H, W) in [0, 1]."""
    small = F.interpolate(pictures, (model.image_size, model.image_size), mode="bilinear", antialias=True)
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (model.mean, model.std))
    parts = [model.encode_image((part - mean) / std) for part in small.split(64)]  # type: ignore[no-untyped-call]
    return F.normalize(torch.cat(parts), dim=1)


def embed_style(model: CompactClip, text: str) -> Tensor:
    """The unit mean (D,) over the 79 templates, as the method takes it."""
    return F.normalize(F.normalize(model.encode_text([t.format(text) for t in TEMPLATES]), dim=1).mean(0), dim=0)


@torch.no_grad()
def figures(model: CompactClip, held_out: Drawings) -> dict[str, Any]:
    """Accuracy and strength per class.

    - retrieval: share of held-out pictures whose text, among all classes, is the nearest.
    - direction: mean cosine of (patch - photo) and the text direction, the photo a random held-out one; what 1 - tau is
      compared with. `passed` is the share above 0.3, the background's threshold.
    - texts: share of canonical names, in phrases and templates not seen in training, nearest to their own class.
    """
    pictures = torch.from_numpy(held_out.pictures).permute(0, 3, 1, 2).float() / 255
    labels = torch.from_numpy(held_out.labels)
    images = embed_pictures(model, pictures)  # (N, D)
    source = embed_style(model, SOURCE)  # (D,)
    texts = torch.stack([source, *(embed_style(model, name) for name in CLASSES[1:])])  # (K, D)
    right = (images @ texts.T).argmax(1) == labels
    photos = images[labels == 0]
    partner = photos[torch.arange(len(images)) % len(photos)]  # (N, D)
    directions = F.normalize(texts - source, dim=1)  # (K, D), zeros for the photo
    reached = (F.normalize(images - partner, dim=1) * directions[labels]).sum(1)  # (N,)
    table = {}
    for number, name in enumerate(CLASSES):
        of = labels == number
        table[name] = {"retrieval": _rounded(right[of].float().mean())}
        if number:
            passed = (reached[of] > 0.3).float().mean()
            table[name] |= {"direction": _rounded(reached[of].mean()), "passed": _rounded(passed)}
    read = torch.stack([F.normalize(model.encode_text([p.format(n) for p in NEW_PHRASES]), dim=1) for n in CLASSES[1:]])
    own = (read @ texts.T).argmax(2) == torch.arange(1, len(CLASSES)).unsqueeze(1)  # (K - 1, phrases)
    return {
        "pictures": len(labels),
        "retrieval": _rounded(right.float().mean()),
        "texts": _rounded(own.float().mean()),
        "classes": table,
    }


def _rounded(value: Tensor) -> float:
    return round(float(value), 3)
