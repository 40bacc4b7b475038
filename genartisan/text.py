"""From a sentence to the direction in CLIP space that the picture has to take (eq 2, 10)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from genartisan.networks import Clip

SAME = 1e-3  # a shorter difference of unit vectors is rounding: the texts are the same words to this CLIP
# CLIPstyler's list: OpenAI's 80 templates for ImageNet but "a photo of many {}.". They are open_clip's too, which takes
# over a second to import: a worker whose bundle has a CLIP of another kind need not wait for that.
TEMPLATES = (
    "a bad photo of a {}.", "a sculpture of a {}.", "a photo of the hard to see {}.",
    "a low resolution photo of the {}.", "a rendering of a {}.", "graffiti of a {}.", "a bad photo of the {}.",
    "a cropped photo of the {}.", "a tattoo of a {}.", "the embroidered {}.", "a photo of a hard to see {}.",
    "a bright photo of a {}.", "a photo of a clean {}.", "a photo of a dirty {}.", "a dark photo of the {}.",
    "a drawing of a {}.", "a photo of my {}.", "the plastic {}.", "a photo of the cool {}.",
    "a close-up photo of a {}.", "a black and white photo of the {}.", "a painting of the {}.", "a painting of a {}.",
    "a pixelated photo of the {}.", "a sculpture of the {}.", "a bright photo of the {}.", "a cropped photo of a {}.",
    "a plastic {}.", "a photo of the dirty {}.", "a jpeg corrupted photo of a {}.", "a blurry photo of the {}.",
    "a photo of the {}.", "a good photo of the {}.", "a rendering of the {}.", "a {} in a video game.",
    "a photo of one {}.", "a doodle of a {}.", "a close-up photo of the {}.", "a photo of a {}.", "the origami {}.",
    "the {} in a video game.", "a sketch of a {}.", "a doodle of the {}.", "a origami {}.",
    "a low resolution photo of a {}.", "the toy {}.", "a rendition of the {}.", "a photo of the clean {}.",
    "a photo of a large {}.", "a rendition of a {}.", "a photo of a nice {}.", "a photo of a weird {}.",
    "a blurry photo of a {}.", "a cartoon {}.", "art of a {}.", "a sketch of the {}.", "a embroidered {}.",
    "a pixelated photo of a {}.", "itap of the {}.", "a jpeg corrupted photo of the {}.", "a good photo of a {}.",
    "a plushie {}.", "a photo of the nice {}.", "a photo of the small {}.", "a photo of the weird {}.",
    "the cartoon {}.", "art of the {}.", "a drawing of the {}.", "a photo of the large {}.",
    "a black and white photo of a {}.", "the plushie {}.", "a dark photo of a {}.", "itap of a {}.",
    "graffiti of the {}.", "a toy {}.", "itap of my {}.", "a photo of a cool {}.", "a photo of a small {}.",
    "a tattoo of the {}.",
)  # fmt: skip


@torch.inference_mode()
def text_embedding(clip: Clip, text: str) -> Tensor:
    """The L2-normalised mean of the embeddings of ``text`` in all 79 templates, ``(D,)``, float32.

    The embeddings are averaged as the encoder gives them and only the mean is normalised, as in CLIPstyler's code.
    """
    embeddings = clip.encode_text([template.format(text) for template in TEMPLATES])  # (79, D)
    return F.normalize(embeddings.float().mean(dim=0), dim=0)


def text_direction(clip: Clip, prompt: str, source_text: str) -> Tensor:
    """ΔT, of length 1, from ``source_text`` to ``prompt``, ``(D,)``, float32; zero where the two mean the same."""
    difference = text_embedding(clip, prompt) - text_embedding(clip, source_text)  # (D,)
    return F.normalize(difference, dim=0) if float(difference.norm()) > SAME else torch.zeros_like(difference)
