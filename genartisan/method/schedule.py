"""The schedule of a run: coarse steps, learning rates, and the time that is left."""

from __future__ import annotations

from dataclasses import dataclass

from genartisan.config import StyleConfig

COARSE_PIXELS = 1 / 4  # of a coarse step, in steps at full size: both sides are halved
COARSE_COST = 1 / 3  # time of a coarse step, in steps at full size: CLIP sees as many patches in both


@dataclass(frozen=True)
class Schedule:
    """How the steps of a run, counted from 0, are spread over sizes and learning rates.

    Attributes:
        steps: of the run.
        coarse_steps: the first of them, which work on the photo at half its size.
        halve_every: steps after which the learning rates are halved.
    """

    steps: int
    coarse_steps: int
    halve_every: int

    @classmethod
    def of(cls, config: StyleConfig) -> Schedule:
        return cls(config.steps, round(config.coarse_share * config.steps), config.halve_every)

    def rate_factor(self, step: int) -> float:
        """Factor on the learning rates."""
        return float(0.5 ** (step // self.halve_every))

    @property
    def pixel_steps(self) -> float:
        """Steps at full size that process as many pixels."""
        return self.steps - self.coarse_steps * (1 - COARSE_PIXELS)

    def cost(self, steps: int) -> float:
        """Cost of the first ``steps``, in steps at full size."""
        coarse = min(steps, self.coarse_steps)
        return coarse * COARSE_COST + steps - coarse

    def eta(self, done: int, seconds: float) -> float:
        """Seconds until the last step ends, given those that the first ``done`` steps took."""
        return seconds * (self.cost(self.steps) / self.cost(done) - 1)
