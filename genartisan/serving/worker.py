"""What a worker keeps from one request to the next: networks, settings, caches, and what it shares with the others."""

from __future__ import annotations

import atexit
import gc
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import genartisan
from genartisan.cache import ByteCache
from genartisan.io.files import sha256
from genartisan.method.saved_style import SavedStyle
from genartisan.method.stylization import Result
from genartisan.method.stylizer import Stylizer
from genartisan.networks.bundle import MANIFEST, Bundle
from genartisan.networks.device import lower_priority, set_threads
from genartisan.serving import telemetry, tracing
from genartisan.serving.gauges import Emit
from genartisan.serving.jobs import Jobs
from genartisan.serving.limits import Limits
from genartisan.serving.model_description import describe_model
from genartisan.serving.telemetry import Telemetry
from genartisan.serving.warm_up import warm_up
from genartisan.serving.watchdog import Watchdog

logger = logging.getLogger(__name__)

BYTES = ("prompt_cache_bytes", "result_cache_bytes", "max_response_bytes")  # settings


@dataclass
class Worker:
    """A process that answers one request at a time.

    Attributes:
        bundle_hash: the SHA-256 of the bundle's manifest.
        settings: ``handler`` in handlers/model-config.yaml.
        results: the pictures of earlier requests.
    """

    stylizer: Stylizer
    bundle_hash: str
    settings: Mapping[str, Any]
    limits: Limits
    results: ByteCache[Result]
    telemetry: Telemetry
    jobs: Jobs
    watchdog: Watchdog

    @classmethod
    def load(
        cls,
        bundle: Path,
        styles: Mapping[str, SavedStyle],
        config: Mapping[str, Any],
        device: str,
        *,
        drafts_only: bool,
        version: str,
        shared: Path,
        emit: Emit,
    ) -> Worker:
        """Loads the networks and warms up.

        Args:
            bundle: its folder.
            styles: saved styles to serve by name.
            config: the settings of handlers/model-config.yaml.
            drafts_only: whether it is to make no runs; runs on a CPU have a lower priority.
            version: of the model.
            shared: a folder for all workers of a server.
            emit: as in `genartisan.serving.telemetry.Telemetry`.

        Raises:
            ValueError: a setting is invalid.
            ServeError: traces are wanted, but OpenTelemetry is missing.
        """
        settings = config["handler"]
        sizes = {name: whole_bytes(settings, name) for name in BYTES}
        limits = Limits.of_server(settings.get("limits", {}), config["responseTimeout"])
        networks, bundle_hash = Bundle.load(bundle), sha256(bundle / MANIFEST)
        if not drafts_only and not device.startswith("cuda"):
            lower_priority(settings.get("nice", 0))
        set_threads(settings.get("threads", "auto"), int(config.get("maxWorkers", 1)))
        stylizer = Stylizer(
            networks,
            device,
            settings["precision"],
            sizes["prompt_cache_bytes"],
            graphs=settings.get("cuda_graphs", False) is True and device.startswith("cuda"),
            styles=dict(styles),
        )
        warm_up(stylizer, settings.get("warm_up"), drafts_only=drafts_only)
        gc.freeze()  # a collection, as after memory ran out, takes half a second if it looks at all modules
        atexit.register(gc.unfreeze)  # or extension modules report leaks
        build = (genartisan.__version__, networks.name, bundle_hash, version)
        counted = Telemetry(emit, shared, build, tracing.Tracing(build) if tracing.is_wanted() else None)
        logging.getLogger(telemetry.__name__).setLevel(logging.INFO)
        logger.info("bundle %s on %s in %s", networks.name, stylizer.device, stylizer.precision)
        return cls(
            stylizer,
            bundle_hash,
            settings,
            limits,
            ByteCache(sizes["result_cache_bytes"]),
            counted,
            Jobs(shared),
            Watchdog(float(settings["silence_s"]), counted.beat),
        )

    def describe(self) -> dict[str, Any]:
        """The package, networks, saved styles, limits and inputs, ready for JSON."""
        return describe_model(self.stylizer, self.bundle_hash, self.limits)


def whole_bytes(settings: Mapping[str, Any], name: str) -> int:
    """A setting that is a number of bytes.

    Raises:
        ValueError: it is missing or invalid.
    """
    value = settings.get(name)
    if type(value) is not int or value < 0:
        raise ValueError(f"{name} is {value!r}; give a whole number of bytes, 0 or more")
    return value
