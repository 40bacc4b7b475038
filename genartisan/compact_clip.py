"""CompactClip: a pair of towers small enough to ship, trained to know styles and nothing else of what CLIP knows.

The image tower reads fixed statistics of a picture's texture, because a style is a matter of textures wherever they
are. The text tower reads a fixed vocabulary. Both are trained in `genartisan.embedded.train_clip`.

Two properties of OpenAI's CLIP that the method's thresholds rest on are built in rather than learned:

- *The modality gap.* Its image and text directions never reach a cosine of 1; styled patches end near 0.3 to 0.45, and
  the paper's thresholds (a patch is rejected at 1 - cos <= 0.7 or 0.8) count on it. Here a text is (gap * t, sqrt(1 -
  gap^2) * t, 0) and an image (s, 0, content * c): every cosine between a text direction and an image direction is
  scaled by `gap` exactly.
- *Content.* A patch differs from the whole photo in what it shows too, so a faint style must not count as a finished
  one. The layout c of a picture, its 4x4 thumbnail, takes that part. It carries no gradient: it damps weak style and
  steers nothing.
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

from genartisan.texture import TextureStatistics

WORD = re.compile(r"[a-z0-9]+")
START = 0  # the token before every text, so that a text without a known word has something to attend to


def words_of(text: str) -> list[str]:
    """The lower-case words of a text, accents removed: "Café d'été" -> ["cafe", "d", "ete"]."""
    plain = unicodedata.normalize("NFKD", text.lower()).encode("ascii", "ignore").decode()
    return WORD.findall(plain)


class TextureTower(nn.Module):
    """Reads a style off a picture's texture statistics, which are fixed: (N, 3, S, S) -> (N, dim).

    The reading is linear on purpose. Layers in between retrieve more styles (0.97 of held-out drawings, not 0.92), but
    a picture can satisfy them without looking like anything; along a linear one it can only add what a style has.
    """

    LEAST = 0.15  # deviation: a statistic that hardly ever varies, such as a rare colour's share, must not count most

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.statistics = TextureStatistics()
        self.register_buffer("mean", torch.zeros(self.statistics.count))
        self.register_buffer("deviation", torch.ones(self.statistics.count))
        self.head = nn.Linear(self.statistics.count, dim)

    def forward(self, images: Tensor) -> Tensor:
        return self.read(self.standardised(self.statistics(images)))

    @torch.no_grad()
    def measure(self, statistics: Tensor) -> None:
        """Take means and deviations of statistics (M, count), by which they are standardised from now on."""
        deviation, mean = torch.std_mean(statistics, 0)
        cast(Tensor, self.mean).copy_(mean)
        cast(Tensor, self.deviation).copy_(deviation.clamp_min(self.LEAST))

    def standardised(self, statistics: Tensor) -> Tensor:
        """Statistics (N, count) in deviations from their means, at most 6."""
        return ((statistics - cast(Tensor, self.mean)) / cast(Tensor, self.deviation)).clamp(-6, 6)

    def read(self, standardised: Tensor) -> Tensor:
        """Embeddings (N, dim) of standardised statistics (N, count)."""
        return F.normalize(self.head(standardised), dim=1)


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
        dim: size of the space both towers share; an embedding has 2 dim + 48 numbers.
        vocabulary: the words the text tower knows, lower case; a text's other words are left out.
        word_width: size of a word's embedding.
        styles: names of the techniques the towers know, each a text that asks for it.
        colours: the colour words they know, which combine with a technique or stand alone.
        keywords: the words of the vocabulary that ask for a style or a colour; empty takes all for such.
        gap: the largest cosine of a text and an image direction, in (0, 1]. 0.42 is about where OpenAI's CLIP ends.
        content: weight of a picture's layout against its style, 0 or more. The larger, the more of a style a patch must
            show before it is rejected as finished.
    """

    mean: tuple[float, float, float] = (0.45, 0.45, 0.45)
    std: tuple[float, float, float] = (0.27, 0.27, 0.27)
    NAMED = 6  # styles named in a warning

    def __init__(
        self,
        *,
        image_size: int,
        dim: int,
        vocabulary: Sequence[str],
        word_width: int = 64,
        gap: float = 0.42,
        content: float = 0.7,
        styles: Sequence[str] = (),
        colours: Sequence[str] = (),
        keywords: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self.image_size, self.dim, self.gap, self.content = image_size, dim, gap, content
        self.vocabulary = {word: number for number, word in enumerate(vocabulary, START + 1)}
        self.techniques, self.colours = tuple(styles), tuple(colours)
        self.keywords = frozenset(keywords or vocabulary)
        self.image_tower = TextureTower(dim)
        self.text_tower = WordTower(len(self.vocabulary), word_width, dim)

    def encode_image(self, images: Tensor) -> Tensor:
        """Embeddings (N, 2 dim + 48), not of unit length, of images (N, 3, S, S) normalised by `mean` and `std`."""
        style = self.image_tower(images)  # (N, dim)
        layout = F.adaptive_avg_pool2d(images.detach(), 4)  # (N, 3, 4, 4)
        layout = F.normalize((layout - layout.mean((2, 3), keepdim=True)).flatten(1), dim=1)  # (N, 48)
        return torch.cat((style, torch.zeros_like(style), self.content * layout), 1)

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """Embeddings (N, 2 dim + 48), of unit length, of N texts. Words outside the vocabulary change nothing."""
        text = self.text_tower(self.tokens(texts))  # (N, dim)
        none = text.new_zeros(len(text), 48)
        return torch.cat((self.gap * text, math.sqrt(1 - self.gap**2) * text, none), 1)

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
