"""CompactClip: a CLIP small enough to ship, which knows only styles and colours.

The image tower pools statistics of a small network's maps over space. The text tower reads a fixed vocabulary. Both
are trained in `genartisan.training.train_clip`.

OpenAI's CLIP has a *modality gap*, on which the method's thresholds rely: image and text directions never reach a
cosine of 1. Styled patches end near 0.3 to 0.45, and a patch is rejected as finished at 1 - cos <= 0.7 or 0.8. Here
the gap is built in: a text embeds as (gap * t, sqrt(1 - gap^2) * t) and an image as (s, 0), so that every cosine
between a text direction and an image direction is scaled by exactly `gap`.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genartisan.networks.mobilenet import MobileNetV2

WORD = re.compile(r"[a-z0-9]+")
START = 0  # the token before every text: a text without known words still has one to attend to


def words_of(text: str) -> list[str]:
    """The words of a text, in lower case and without accents: "Café d'été" -> ["cafe", "d", "ete"]."""
    plain = unicodedata.normalize("NFKD", text.lower()).encode("ascii", "ignore").decode()
    return WORD.findall(plain)


class Standardised(nn.Module):
    """Picture statistics, standardised by their mean and deviation over many pictures."""

    LEAST = 1e-4  # smallest variance: keeps the gradients of flat pictures finite

    def __init__(self, count: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(count))
        self.register_buffer("deviation", torch.ones(count))

    def standard(self, statistics: Tensor) -> Tensor:
        """Standardised statistics (M, count), float32."""
        return (statistics - cast(Tensor, self.mean).float()) / cast(Tensor, self.deviation).float()

    @torch.no_grad()
    def standardise(self, statistics: Tensor) -> None:
        """Sets mean and deviation to those of statistics (M, count)."""
        deviation, mean = torch.std_mean(statistics, 0)
        cast(Tensor, self.mean).copy_(mean)
        cast(Tensor, self.deviation).copy_(deviation.clamp_min(self.LEAST**0.5))


class StyleTower(Standardised):
    """A style embedding: RGB in [0, 1], (N, 3, S, S) -> (N, dim), unit vectors.

    Style is texture, independent of place (Gatys et al. 2016, arXiv 1508.06576), so the tower reads means and
    deviations of MobileNetV2's maps. The trunk is pretrained on real pictures and fine-tuned adversarially on drawings,
    because only robust networks have gradients that show something (Engstrom et al. 2019, arXiv 1906.00945).

    Args:
        blocks: of the trunk, 1 to 17.
        taps: blocks whose maps are read, in ascending order; 0 is the stem.
        dim: size of the embedding.
    """

    def __init__(self, *, blocks: int, taps: Sequence[int], dim: int) -> None:
        trunk = MobileNetV2(blocks)
        count = 2 * sum(trunk.channels[tap] for tap in taps)
        super().__init__(count)
        self.taps, self.trunk = tuple(taps), trunk
        self.head = nn.Linear(count, dim)

    def forward(self, images: Tensor) -> Tensor:
        return self.embed(self.statistics(images))

    def statistics(self, images: Tensor) -> Tensor:
        """Mean and deviation of each channel of each tapped map, (N, count), float32."""
        pooled = list[Tensor]()
        images = images.contiguous(memory_format=torch.channels_last)  # a third faster on the CPU
        for features in self.trunk.maps(images, self.taps):  # (N, C, h, w)
            variance, mean = torch.var_mean(features.float(), (2, 3), correction=0)
            pooled += [mean, (variance + self.LEAST).sqrt()]
        return torch.cat(pooled, 1)

    def embed(self, statistics: Tensor) -> Tensor:
        """Embeddings (N, dim) of statistics (N, count)."""
        standard = self.standard(statistics).to(self.head.weight.dtype)
        return F.normalize(self.head(standard).float(), dim=1)


class Palette(Standardised):
    """A colour embedding: RGB in [0, 1], (N, 3, S, S) -> (N, DIM), unit vectors.

    `StyleTower` recognises purple fire as fire, so the colour needs its own embedding. Each statistic becomes angles,
    embedded by sine and cosine: the cosine to a style peaks at the style's colours instead of growing beyond them.
    """

    # Lightness, red-green, blue-yellow.
    OPPONENT = ((1 / 3, 1 / 3, 1 / 3), (1 / 2, -1 / 2, 0.0), (-1 / 4, -1 / 4, 1 / 2))
    FREQUENCIES = (0.3, 0.8)  # radians per deviation; all photos lie within half a turn of the lower one
    COUNT = 9  # means, deviations, correlations
    DIM = 2 * len(FREQUENCIES) * COUNT

    def __init__(self) -> None:
        super().__init__(self.COUNT)

    def forward(self, images: Tensor) -> Tensor:
        standard = self.standard(self.statistics(images)).clamp(-5, 5)  # (N, COUNT)
        waves = [wave(f * standard) / f for wave in (torch.sin, torch.cos) for f in self.FREQUENCIES]
        return torch.cat(waves, 1) / math.sqrt(sum(f**-2 for f in self.FREQUENCIES) * self.COUNT)

    def statistics(self, images: Tensor) -> Tensor:
        """Means, deviations and correlations of the opponent colours, (N, COUNT), float32."""
        pixels = images.float().flatten(2).unbind(1)  # three of (N, S * S)
        rows = [sum(share * pixel for share, pixel in zip(row, pixels, strict=True)) for row in self.OPPONENT]
        colours = torch.stack(cast(list[Tensor], rows), 1)  # (N, 3, S * S)
        mean = colours.mean(2, keepdim=True)
        covariance = (colours - mean) @ (colours - mean).transpose(1, 2) / colours.shape[2]  # (N, 3, 3)
        deviation = (covariance.diagonal(dim1=1, dim2=2) + self.LEAST).sqrt()  # (N, 3)
        pairs = ((0, 1), (0, 2), (1, 2))
        mixed = torch.stack([covariance[:, first, second] for first, second in pairs], 1)  # (N, 3)
        correlation = mixed / torch.stack([deviation[:, first] * deviation[:, second] for first, second in pairs], 1)
        return torch.cat((mean.squeeze(2), deviation, correlation), 1)


class WordTower(nn.Module):
    """Convolutions over words, pooled by attention: tokens (N, L), padded with -1, -> (N, dim), unit vectors."""

    def __init__(self, words: int, width: int, dim: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(words + 1, width, _weight=torch.empty(words + 1, width))
        if not self.embed.weight.is_meta:  # where drawing it would import torch._dynamo: 5 s, 90 MB
            self.embed.reset_parameters()
        self.near = nn.Conv1d(width, 2 * width, 3, padding=1)
        self.far = nn.Conv1d(2 * width, 2 * width, 3, padding=1)
        self.weigh = nn.Linear(2 * width, 1)
        self.head = nn.Linear(2 * width, dim)

    def forward(self, tokens: Tensor) -> Tensor:
        present = (tokens >= 0).unsqueeze(1)  # (N, 1, L)
        x = self.embed(tokens.clamp_min(START)).transpose(1, 2) * present  # (N, width, L)
        x = F.gelu(self.near(x)) * present  # (N, 2 width, L)
        x = x + F.gelu(self.far(x))
        logits = self.weigh(x.transpose(1, 2)).squeeze(2).masked_fill(~present.squeeze(1), -torch.inf)
        attention = logits.softmax(1)  # (N, L)
        return F.normalize(self.head((x * attention.unsqueeze(1)).sum(2)), dim=1)  # (N, dim)


class CompactClip(nn.Module):
    """The two towers behind CLIP's interface.

    Args:
        image_size: side of the square input of `encode_image`, pixels.
        vocabulary: lower-case words of the text tower; other words of a text are ignored.
        blocks, taps, dim: of the `StyleTower`.
        palette_share: share of the `Palette` in the image embedding, in [0, 1).
        word_width: size of a word's embedding.
        styles: names of the known techniques, each usable as a prompt.
        colours: known colour words, usable alone or with a technique.
        keywords: words of the vocabulary that name a style or a colour; empty for all.
        gap: largest cosine between a text and an image direction, in (0, 1].
    """

    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)  # the trunk takes RGB as it is
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    NAMED = 6  # styles listed in a warning
    multiplies = False  # depthwise convolutions and statistics over pixels

    def __init__(
        self,
        *,
        image_size: int,
        vocabulary: Sequence[str],
        gap: float,
        blocks: int = 13,
        taps: Sequence[int] = (0, 2, 4, 7, 11, 13),
        dim: int = 128,
        palette_share: float = 0.3,
        word_width: int = 64,
        styles: Sequence[str] = (),
        colours: Sequence[str] = (),
        keywords: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self.image_size, self.gap = image_size, gap
        self.vocabulary = {word: number for number, word in enumerate(vocabulary, START + 1)}
        self.techniques, self.colours = tuple(styles), tuple(colours)
        self.keywords = frozenset(keywords or vocabulary)
        self.dim = dim + Palette.DIM
        self.embedding_dim = 2 * self.dim
        self.palette_share = palette_share
        self.image_tower, self.palette = StyleTower(blocks=blocks, taps=taps, dim=dim), Palette()
        self.text_tower = WordTower(len(self.vocabulary), word_width, self.dim)

    def encode_image(self, images: Tensor) -> Tensor:
        """Unit embeddings (N, 2 dim) of images (N, 3, S, S), normalised by `mean` and `std`."""
        look = self.look(images)  # (N, dim)
        return torch.cat((look, torch.zeros_like(look)), 1)

    def look(self, images: Tensor) -> Tensor:
        """Style and palette embedding of the same images, (N, dim), unit vectors."""
        style, palette = self.image_tower(images), self.palette(images)
        return torch.cat((math.sqrt(1 - self.palette_share) * style, math.sqrt(self.palette_share) * palette), 1)

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """Unit embeddings (N, 2 dim) of N texts. Words outside the vocabulary are ignored."""
        text = self.text_tower(self.tokens(texts))  # (N, dim)
        return torch.cat((self.gap * text, math.sqrt(1 - self.gap**2) * text), 1)

    def tokens(self, texts: Sequence[str]) -> Tensor:
        """START and each text's known words, padded with -1: (N, L), int64."""
        known = [[START, *(self.vocabulary[w] for w in words_of(text) if w in self.vocabulary)] for text in texts]
        longest = max(map(len, known))
        padded = [numbers + [-1] * (longest - len(numbers)) for numbers in known]
        return torch.tensor(padded, device=self.text_tower.embed.weight.device)

    def unknown(self, text: str) -> list[str]:
        """The distinct words of a text, in any script, that are not in the vocabulary."""
        words = dict.fromkeys(re.findall(r"[^\W_]+", text.lower()))
        return [word for word in words if not words_of(word) or any(w not in self.vocabulary for w in words_of(word))]

    def remarks(self, text: str) -> list[str]:
        """Warnings about words outside the vocabulary, for a report."""
        if not any(word in self.keywords for word in words_of(text)):
            some = "; ".join(self.techniques[: self.NAMED])
            known = f"; it knows {some} and more: `genartisan styles` lists them" if some else ""
            return [f"the embedded bundle finds no style in it, so the picture's style is arbitrary{known}"]
        unknown = self.unknown(text)
        return [f"the embedded bundle does not know {', '.join(unknown[:8])}, which is left out"] if unknown else []

    def styles(self) -> dict[str, list[str]]:
        """The names of the known ``techniques`` and ``colours``."""
        return {"techniques": list(self.techniques), "colours": list(self.colours)}
