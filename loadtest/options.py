"""The load test's own options, beside Locust's."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Collection
from functools import partial
from typing import Any

from jobs import KINDS
from levels import parse_levels

from genartisan.config import PRESETS
from genartisan.serving.defaults import Ports


def numbers(text: str, alone: str = "") -> dict[str, float]:
    """``name=number,name=number``; a name alone has the number ``alone``."""
    pairs = [part.partition("=") for part in text.split(",") if part.strip()]
    return {name.strip(): float(value or alone) for name, _, value in pairs}


def weights(text: str, known: Collection[str]) -> dict[str, float]:
    """``name=weight,name=weight``; a name alone has weight 1."""
    parsed = numbers(text, alone="1")
    if unknown := [name for name in parsed if name not in known]:
        raise ValueError(f"{unknown[0]!r} is none of {', '.join(known)}")
    if not parsed or min(parsed.values()) < 0 or sum(parsed.values()) == 0:
        raise ValueError("weights are at least 0, and one is more")
    return parsed


def settings(text: str) -> dict[str, Any]:
    """A JSON object."""
    value = json.loads(text)
    if not isinstance(value, dict):
        raise ValueError("a JSON object is needed")
    return value


READ: dict[str, Callable[[str], Any]] = {
    "mix": partial(weights, known=KINDS),
    "presets": partial(weights, known=PRESETS),
    "params": settings,
    "levels": parse_levels,
    "p95": numbers,
}


def checked(name: str) -> Callable[[str], str]:
    """A check of an option that stays text, which is all that a master sends to its workers."""

    def check(text: str) -> str:
        try:
            READ[name](text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"{text!r}: {error}") from error
        return text

    return check


def read(options: Any, name: str) -> Any:
    """The value of such an option."""
    return READ[name](getattr(options, name))


def add_options(parser: Any) -> None:
    """Adds the options to Locust's parser."""
    parser.set_defaults(web_host="127.0.0.1")
    ours = parser.add_argument_group("genartisan")
    ours.add_argument(
        "--grpc", metavar="HOST:PORT", default=f"127.0.0.1:{Ports.grpc_inference}", help="the gRPC endpoint"
    )
    ours.add_argument(
        "--key-file", metavar="FILE", help="TorchServe's key_file.json; default: of a server started here"
    )
    ours.add_argument("--i-own-this", action="store_true", help="needed for a host other than this machine")
    ours.add_argument("--patience", type=float, default=600, metavar="SECONDS", help="the longest wait for an answer")
    ours.add_argument(
        "--mix", type=checked("mix"), default="picture", metavar="KIND=WEIGHT,…", help=f"of {', '.join(KINDS)}"
    )
    ours.add_argument(
        "--presets",
        type=checked("presets"),
        default="draft",
        metavar="PRESET=WEIGHT,…",
        help=f"of {', '.join(PRESETS)}",
    )
    ours.add_argument(
        "--params", type=checked("params"), default="{}", metavar="JSON", help="settings of every request"
    )
    ours.add_argument("--seed", type=int, default=0, help="of photos, sentences, presets, seeds and arrivals")
    ours.add_argument(
        "--check-share", type=float, default=0.1, metavar="SHARE",
        help="share of requests whose bytes must equal those of a run before the load; 0 on a GPU",
    )  # fmt: skip
    ours.add_argument("--rate", type=float, metavar="PER_SECOND", help="open model: arrivals, whatever is answered")
    ours.add_argument("--constant", action="store_true", help="open model: at equal distances instead of Poisson's")
    ours.add_argument("--max-in-flight", type=int, default=200, help="open model: beyond it, arrivals are dropped")
    ours.add_argument(
        "--levels", type=checked("levels"), default="", metavar="LEVELxSECONDS,…",
        help="the load over time, in users, or with --rate in arrivals a second: 1x30,2x30,4x30*2",
    )  # fmt: skip
    ours.add_argument("--max-failures", type=float, default=0, metavar="SHARE", help="gate: share of jobs that failed")
    ours.add_argument(
        "--p95", type=checked("p95"), default="", metavar="JOB=SECONDS,…", help='gate: as in "picture draft=2.5"'
    )
    ours.add_argument("--min-throughput", type=float, default=0, metavar="PER_MINUTE", help="gate: pictures a minute")
    ours.add_argument("--metrics", metavar="URL", help="of Prometheus metrics; default: port 8082 of a local host")
    ours.add_argument(
        "--state", metavar="DIR",
        help="state folder of a server on this machine: watch its queue, memory, descriptors and logs",
    )  # fmt: skip
    ours.add_argument("--retries", type=int, default=0, help="of our client; by default every refusal is seen")
    ours.add_argument(
        "--kill-every",
        type=float,
        metavar="SECONDS",
        help="kill a worker of the server of --state, again and again",
    )
    ours.add_argument("--report", metavar="DIR", help="write report.html, report.png and report.json")
