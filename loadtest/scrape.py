"""The server's metrics, as Prometheus would see them."""

from __future__ import annotations

import re
from collections import defaultdict

import httpx

SAMPLE = re.compile(r"^([a-zA-Z_:][\w:]*)(?:\{([^}]*)\})? (\S+)", re.MULTILINE)
WANTED = {
    "genartisan_in_flight": "in progress",
    "genartisan_peak_memory_bytes": "peak memory",
    "genartisan_worker_starts_total": "worker starts",
    "ts_queue_latency_microseconds": "seconds in queue",
}
WITHIN = 5.0  # seconds


def scraped(url: str) -> dict[str, float]:
    """The wanted metrics, each summed over the workers; empty if the server does not answer."""
    try:
        text = httpx.get(url, timeout=WITHIN, trust_env=False).text
    except httpx.HTTPError:
        return {}
    sums: dict[str, float] = defaultdict(float)
    for name, _, value in SAMPLE.findall(text):
        if name in WANTED:
            sums[WANTED[name]] += float(value) / (1e6 if name.endswith("microseconds") else 1)
    return dict(sums)
