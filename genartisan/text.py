"""From a sentence to the direction in CLIP space that the picture has to take (eq 2, 10)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from open_clip import OPENAI_IMAGENET_TEMPLATES
from torch import Tensor

from genartisan.networks import Clip

# CLIPstyler's list: OpenAI's 80 prompt templates for ImageNet without the one that asks for many photos.
SAME = 0.05  # below this length a difference of unit vectors is noise: "a Photo" and "a picture" are 0.031 apart
LEFT_OUT = "a photo of many x."
TEMPLATES = tuple(template for template in OPENAI_IMAGENET_TEMPLATES if template("x") != LEFT_OUT)


@torch.inference_mode()
def text_embedding(clip: Clip, text: str) -> Tensor:
    """The L2-normalised mean of the embeddings of ``text`` in all 79 templates, ``(D,)``, float32.

    The embeddings are averaged as the encoder gives them and only the mean is normalised, as in CLIPstyler's code.
    """
    embeddings = clip.encode_text([template(text) for template in TEMPLATES])  # (79, D)
    return F.normalize(embeddings.float().mean(dim=0), dim=0)


def text_direction(clip: Clip, prompt: str, source_text: str) -> Tensor:
    """ΔT, of length 1, from ``source_text`` to ``prompt``, ``(D,)``, float32; zero where the two mean the same."""
    difference = text_embedding(clip, prompt) - text_embedding(clip, source_text)  # (D,)
    return F.normalize(difference, dim=0) if float(difference.norm()) > SAME else torch.zeros_like(difference)
