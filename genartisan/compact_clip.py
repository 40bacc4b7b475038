"""CompactClip: a pair of towers small enough to ship, made to know styles and nothing else of what CLIP knows.

The image tower reads fixed statistics of a picture's texture, because a style is a matter of textures wherever they
are. The text tower reads a fixed vocabulary and is trained to say where pictures of what it reads lie. Both are made in
`genartisan.embedded.train_clip`.

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

from genartisan.texture import TextureStatistics

WORD = re.compile(r"[a-z0-9]+")
START = 0  # the token before every text, so that a text without a known word has something to attend to


def words_of(text: str) -> list[str]:
    """The lower-case words of a text, accents removed: "Café d'été" -> ["cafe", "d", "ete"]."""
    plain = unicodedata.normalize("NFKD", text.lower()).encode("ascii", "ignore").decode()
    return WORD.findall(plain)


class TextureTower(nn.Module):
    """Where a picture lies among textures: (N, 3, S, S) -> (N, `dim`), unit vectors.

    The texture's statistics are standardised and unmixed, and each is turned into angles, at a few frequencies, whose
    sines and cosines, in amplitudes inverse to the frequencies, are the embedding. So the mean embedding of a style's
    pictures says for each statistic where it lies *and how sure that is*, and a picture comes closest to it where its
    statistics are the style's own. With a linear reading instead it would come the closer the further they went, and an
    optimisation that follows it ends in glaring colours. Nothing here has learned weights that a picture could satisfy
    without looking like anything.
    """

    LEAST = 0.15  # deviation: a statistic that hardly ever varies, such as a rare colour's share, must not count most
    # Radians a deviation. The lowest reaches far: where a photo differs most from what is asked for, it is not past its
    # half turn, beyond which a night sky that should be fire is pulled to blue flames. The higher ones are exact, and
    # must not outweigh it.
    FREQUENCIES = (0.2, 0.5, 1.2)

    def __init__(self) -> None:
        super().__init__()
        self.statistics = TextureStatistics()
        count = self.statistics.count
        self.dim = 2 * len(self.FREQUENCIES) * count
        self.register_buffer("mean", torch.zeros(count))
        self.register_buffer("deviation", torch.ones(count))
        self.register_buffer("unmix", torch.eye(count))

    def forward(self, images: Tensor) -> Tensor:
        return self.embed(self.statistics(images))

    def embed(self, statistics: Tensor) -> Tensor:
        """Embeddings (N, dim) of statistics (N, count)."""
        unmixed = self.standardised(statistics) @ cast(Tensor, self.unmix)  # (N, count)
        waves = [wave(f * unmixed) / f for wave in (torch.sin, torch.cos) for f in self.FREQUENCIES]
        length = math.sqrt(sum(f**-2 for f in self.FREQUENCIES) * unmixed.shape[1])
        return torch.cat(waves, 1) / length

    def standardised(self, statistics: Tensor) -> Tensor:
        """Statistics (N, count) in deviations from their means, at most 6."""
        return ((statistics - cast(Tensor, self.mean)) / cast(Tensor, self.deviation)).clamp(-6, 6)

    @torch.no_grad()
    def measure(self, statistics: Tensor, looks: Tensor, shrinkage: float) -> None:
        """Fits what is standardised and unmixed to pictures of known looks.

        The unmixing is the inverse root of the covariance within looks, as in linear discriminant analysis: so what
        varies among pictures of one look counts less than what tells looks apart. Its columns are scaled down where the
        unmixed would vary more than it does for most.

        Args:
            statistics: of pictures, (M, count).
            looks: the number of each picture's look, (M,).
            shrinkage: added to the covariance's eigenvalues, in squared deviations; the larger, the less is unmixed.
        """
        deviation, mean = torch.std_mean(statistics, 0)
        cast(Tensor, self.mean).copy_(mean)
        cast(Tensor, self.deviation).copy_(deviation.clamp_min(self.LEAST))
        standardised = self.standardised(statistics)
        values, vectors = torch.linalg.eigh(torch.cov(about_means(standardised, looks).T))
        unmix = vectors @ torch.diag((values.clamp_min(0) + shrinkage).rsqrt()) @ vectors.T  # (count, count)
        spread = about_means(standardised @ unmix, looks).std(0)  # (count,)
        cast(Tensor, self.unmix).copy_(unmix / spread.clamp_min(float(spread.median())))  # or `LEAST` is undone


def about_means(values: Tensor, labels: Tensor) -> Tensor:
    """Values (M, D) less the mean of those with the same label (M,)."""
    kinds, index = torch.unique(labels, return_inverse=True)
    sums = values.new_zeros(len(kinds), values.shape[1]).index_add_(0, index, values)
    return values - cast(Tensor, sums / index.bincount().unsqueeze(1))[index]


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
        word_width: size of a word's embedding.
        styles: names of the techniques the towers know, each a text that asks for it.
        colours: the colour words they know, which combine with a technique or stand alone.
        keywords: the words of the vocabulary that ask for a style or a colour; empty takes all for such.
        gap: the largest cosine of a text and an image direction, in (0, 1].
    """

    mean: tuple[float, float, float] = (0.45, 0.45, 0.45)
    std: tuple[float, float, float] = (0.27, 0.27, 0.27)
    NAMED = 6  # styles named in a warning
    multiplies = False  # convolutions and statistics over pixels

    def __init__(
        self,
        *,
        image_size: int,
        vocabulary: Sequence[str],
        gap: float,
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
        self.image_tower = TextureTower()
        self.dim = self.image_tower.dim
        self.embedding_dim = 2 * self.dim
        self.text_tower = WordTower(len(self.vocabulary), word_width, self.dim)

    def encode_image(self, images: Tensor) -> Tensor:
        """Embeddings (N, 2 dim), of unit length, of images (N, 3, S, S) normalised by `mean` and `std`."""
        style = self.image_tower(images)  # (N, dim)
        return torch.cat((style, torch.zeros_like(style)), 1)

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
