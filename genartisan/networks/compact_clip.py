"""CompactClip: a pair of towers small enough to ship, made to know styles and nothing else of what CLIP knows.

The image tower reads a small network's maps, of which it takes what does not depend on the place. The text tower reads
a fixed vocabulary and says where pictures of what it reads lie. Both are trained in `genartisan.training.train_clip`.

OpenAI's CLIP has a *modality gap* that the method's thresholds rest on: its image and text directions never reach a
cosine of 1; styled patches end near 0.3 to 0.45, and a patch is rejected as finished at 1 - cos <= 0.7 or 0.8. Here it
is built in: a text is (gap * t, sqrt(1 - gap^2) * t) and an image (s, 0), so every cosine between a text direction and
an image direction is scaled by `gap` exactly.
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
START = 0  # the token before every text, so that a text without a known word has something to attend to


def words_of(text: str) -> list[str]:
    """The lower-case words of a text, accents removed: "Café d'été" -> ["cafe", "d", "ete"]."""
    plain = unicodedata.normalize("NFKD", text.lower()).encode("ascii", "ignore").decode()
    return WORD.findall(plain)


class Standardised(nn.Module):
    """Statistics of pictures, in deviations from their means over many pictures."""

    LEAST = 1e-4  # variance: below it a flat picture has no gradient that explodes

    def __init__(self, count: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(count))
        self.register_buffer("deviation", torch.ones(count))

    def standard(self, statistics: Tensor) -> Tensor:
        """Statistics (M, count) in deviations from their means, float32."""
        return (statistics - cast(Tensor, self.mean).float()) / cast(Tensor, self.deviation).float()

    @torch.no_grad()
    def standardise(self, statistics: Tensor) -> None:
        """Sets means and deviations to those of statistics (M, count)."""
        deviation, mean = torch.std_mean(statistics, 0)
        cast(Tensor, self.mean).copy_(mean)
        cast(Tensor, self.deviation).copy_(deviation.clamp_min(self.LEAST**0.5))


class StyleTower(Standardised):
    """Where a picture lies among styles: RGB in [0, 1], (N, 3, S, S) -> (N, dim), unit vectors.

    A style is a matter of textures wherever they are (Gatys et al. 2016, arXiv 1508.06576): the tower reads the means
    and deviations of MobileNetV2's maps. The trunk was trained on real pictures and then, adversarially, on drawings:
    gradients of such a network show something to look at, those of others are noise (Engstrom et al. 2019, arXiv
    1906.00945).

    Args:
        blocks: of the trunk, 1 to 17.
        taps: blocks whose maps are read, in rising order; 0 is the stem.
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
        """Mean and deviation of every channel of every map that is read, (N, count), float32."""
        read = list[Tensor]()
        images = images.contiguous(memory_format=torch.channels_last)  # a third faster on the CPU
        for each in self.trunk.maps(images, self.taps):  # (N, C, h, w)
            variance, mean = torch.var_mean(each.float(), (2, 3), correction=0)
            read += [mean, (variance + self.LEAST).sqrt()]
        return torch.cat(read, 1)

    def embed(self, statistics: Tensor) -> Tensor:
        """Embeddings (N, dim) of statistics (N, count)."""
        standard = self.standard(statistics).to(self.head.weight.dtype)
        return F.normalize(self.head(standard).float(), dim=1)


class Palette(Standardised):
    """Which colours a picture has: RGB in [0, 1], (N, 3, S, S) -> (N, DIM), unit vectors.

    The tower above has to know fire in purple for fire; without this it would leave open which colour fire has. Each
    statistic is turned into angles, whose sines and cosines are the embedding: a picture is nearest to a style where
    it has the style's own colours, and not where it has gone on in their direction.
    """

    # Lightness, red-green, blue-yellow.
    OPPONENT = ((1 / 3, 1 / 3, 1 / 3), (1 / 2, -1 / 2, 0.0), (-1 / 4, -1 / 4, 1 / 2))
    FREQUENCIES = (0.3, 0.8)  # radians a deviation; the lower one reaches any photo within its half turn
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
        both = torch.stack([covariance[:, first, second] for first, second in pairs], 1)  # (N, 3)
        correlation = both / torch.stack([deviation[:, first] * deviation[:, second] for first, second in pairs], 1)
        return torch.cat((mean.squeeze(2), deviation, correlation), 1)


class WordTower(nn.Module):
    """Words in their neighbourhood, pooled by attention: tokens (N, L), -1 after a text's end -> (N, dim)."""

    def __init__(self, words: int, width: int, dim: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(words + 1, width)
        self.near = nn.Conv1d(width, 2 * width, 3, padding=1)
        self.far = nn.Conv1d(2 * width, 2 * width, 3, padding=1)
        self.weigh = nn.Linear(2 * width, 1)
        self.head = nn.Linear(2 * width, dim)

    def forward(self, tokens: Tensor) -> Tensor:
        present = (tokens >= 0).unsqueeze(1)  # (N, 1, L)
        x = self.embed(tokens.clamp_min(START)).transpose(1, 2) * present  # (N, width, L)
        x = F.gelu(self.near(x)) * present  # (N, 2 width, L)
        x = x + F.gelu(self.far(x))
        share = (
            self.weigh(x.transpose(1, 2)).squeeze(2).masked_fill(~present.squeeze(1), -torch.inf).softmax(1)
        )  # (N, L)
        return F.normalize(self.head((x * share.unsqueeze(1)).sum(2)), dim=1)  # (N, dim)


class CompactClip(nn.Module):
    """The two towers behind CLIP's interface.

    Args:
        image_size: side in pixels of the square pictures that `encode_image` takes.
        vocabulary: the words the text tower knows, lower case; a text's other words are left out.
        blocks, taps, dim: of the `StyleTower`.
        palette_share: how much of the image embedding is the `Palette`, in [0, 1).
        word_width: size of a word's embedding.
        styles: names of the techniques the towers know, each a text that asks for it.
        colours: the colour words they know, which combine with a technique or stand alone.
        keywords: the words of the vocabulary that ask for a style or a colour; empty takes all for such.
        gap: the largest cosine of a text and an image direction, in (0, 1].
    """

    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)  # the trunk takes RGB as it is
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    NAMED = 6  # styles named in a warning
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
        """Embeddings (N, 2 dim), of unit length, of images (N, 3, S, S) normalised by `mean` and `std`."""
        look = self.look(images)  # (N, dim)
        return torch.cat((look, torch.zeros_like(look)), 1)

    def look(self, images: Tensor) -> Tensor:
        """Style and palette of images as `encode_image` takes them, (N, dim), unit vectors."""
        style, palette = self.image_tower(images), self.palette(images)
        return torch.cat((math.sqrt(1 - self.palette_share) * style, math.sqrt(self.palette_share) * palette), 1)

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """Embeddings (N, 2 dim), of unit length, of N texts. Words outside the vocabulary change nothing."""
        text = self.text_tower(self.tokens(texts))  # (N, dim)
        return torch.cat((self.gap * text, math.sqrt(1 - self.gap**2) * text), 1)

    def tokens(self, texts: Sequence[str]) -> Tensor:
        """The numbers of each text's known words behind START, filled up with -1: (N, L), int64."""
        known = [[START, *(self.vocabulary[w] for w in words_of(text) if w in self.vocabulary)] for text in texts]
        longest = max(map(len, known))
        padded = [numbers + [-1] * (longest - len(numbers)) for numbers in known]
        return torch.tensor(padded, device=self.text_tower.embed.weight.device)

    def unknown(self, text: str) -> list[str]:
        """The words of a text, in any script, that the vocabulary lacks, each once, in order."""
        words = dict.fromkeys(re.findall(r"[^\W_]+", text.lower()))
        return [word for word in words if not words_of(word) or any(w not in self.vocabulary for w in words_of(word))]

    def remarks(self, text: str) -> list[str]:
        """What the vocabulary lacks of a text, in sentences for a report."""
        if not any(word in self.keywords for word in words_of(text)):
            some = "; ".join(self.techniques[: self.NAMED])
            known = f"; it knows {some} and more: `genartisan styles` lists them" if some else ""
            return [f"the embedded bundle finds no style in it, so the picture's style is arbitrary{known}"]
        unknown = self.unknown(text)
        return [f"the embedded bundle does not know {', '.join(unknown[:8])}, which is left out"] if unknown else []

    def styles(self) -> dict[str, list[str]]:
        """The names of the ``techniques`` and ``colours`` that a prompt may ask for."""
        return {"techniques": list(self.techniques), "colours": list(self.colours)}
