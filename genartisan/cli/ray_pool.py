"""Workers of a batch as a pool of Ray actors: on this machine, or on the nodes of a cluster."""

from __future__ import annotations

import logging
import os
import socket
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

from genartisan.batch.items import Item
from genartisan.batch.worker import Outcome, Worker
from genartisan.environment import variables
from genartisan.errors import GenartisanError, InputError

STORE_BYTES = 200 * 1024 * 1024  # of Ray's object store on this machine: only texts pass through it
BLOCKS = 10_000  # at most: the driver holds each, and the items of one are known to be done together
ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_BACKEND_LOG_LEVEL": "fatal",  # it warns on stderr of what Ray Data does
}
ANSWER_WITHIN = 10.0  # seconds
STARTS = 3  # on this machine: Ray gives itself 30 s, too short for a busy one
RETRIES = 2  # of a block whose process or node died
THREADS = 4  # of a worker on a CPU, unless the smallest node has fewer cores


def check_answers(address: str | None) -> None:
    """Raises InputError at once where nothing listens at HOST:PORT; Ray would try for minutes."""
    host, colon, port = (address or "").rpartition(":")
    if not colon or not port.isdecimal():  # none, auto, or a URL such as ray://HOST:PORT, which Ray checks
        return
    try:
        socket.create_connection((host.rpartition("/")[2], int(port)), ANSWER_WITHIN).close()
    except (OSError, OverflowError) as error:
        raise InputError(
            f"address is {address!r}, where no Ray answers ({error}); give HOST:PORT of a head, or auto on a node.",
            "address",
        ) from error


@contextmanager
def cluster(address: str | None) -> Iterator[None]:
    """Ray, begun on this machine, or the one at ``address``.

    Raises:
        InputError: there is none.
    """
    check_answers(address)
    for name, value in ENVIRONMENT.items():  # read at import, and inherited by what starts on this machine
        os.environ.setdefault(name, value)
    import ray
    from tenacity import Retrying, stop_after_attempt

    begun: dict[str, Any] = {"include_dashboard": False, "object_store_memory": STORE_BYTES}
    try:
        for attempt in Retrying(stop=stop_after_attempt(1 if address else STARTS), reraise=True):
            with attempt:
                ray.shutdown()
                ray.init(
                    address=address or "local",
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                    **({} if address else begun),
                )
    except Exception as error:  # Ray raises bare ones
        if address is None:
            raise GenartisanError(f"Ray does not start on this machine: {error}") from error
        raise InputError(f"address is {address!r}, where no Ray answers ({error}).", "address") from error
    try:
        yield
    finally:
        ray.shutdown()


@dataclass(frozen=True)
class Share:
    """What a worker gets of its node.

    Attributes:
        workers: that fit on all nodes together.
    """

    device: str
    threads: int
    workers: int


def shares(nodes: Sequence[Mapping[str, float]], device: str, threads: int | None) -> Share:
    """One worker for each GPU, or for each ``threads`` cores.

    Args:
        nodes: their resources by Ray's names.
        device: ``auto`` (GPUs if there are any), ``cpu`` or ``cuda``.
        threads: of a worker; None: `THREADS`, or fewer if the smallest node has no more cores for a worker.

    Raises:
        InputError: no worker fits.
    """
    gpus = [node for node in nodes if node.get("GPU", 0) >= 1]
    if device == "cuda" and not gpus:
        raise InputError("device is 'cuda', but no node has a GPU for Ray; use auto or cpu.", "device")
    on_gpus = bool(gpus) and device != "cpu"
    cores = [node.get("CPU", 0) / (node["GPU"] if on_gpus else 1) for node in (gpus if on_gpus else nodes)]
    cores = [each for each in cores if each >= 1]  # for a worker, at most; a cluster's head may lend none
    if not cores:
        raise InputError("address leads to nodes that lend no core; start them with --num-cpus.", "address")
    if threads is not None and not 1 <= threads <= max(cores):
        raise InputError(f"threads is {threads}; the nodes have 1 to {max(cores):.0f} for a worker.", "threads")
    each = int(min(THREADS, *cores)) if threads is None else threads

    def fitting(node: Mapping[str, float]) -> int:
        by_cores = int(node.get("CPU", 0) // each)
        return min(by_cores, int(node["GPU"])) if on_gpus else by_cores

    return Share("cuda" if on_gpus else "cpu", each, sum(map(fitting, gpus if on_gpus else nodes)))


def alive() -> list[Mapping[str, float]]:
    """The resources of the nodes of the cluster."""
    import ray

    return [node["Resources"] for node in cast(Any, ray).nodes() if node["Alive"]]


def outcomes(items: Mapping[str, Item], worker: Worker, share: Share) -> Iterator[Outcome]:
    """The outcome of each item, in the order in which they are done.

    What a process or node held when it died is done again, at most `RETRIES` times. What still has no outcome is tried
    once more by itself, so that an item that kills its process fails alone.

    Args:
        items: by their outputs.
    """
    left = dict(items)
    for blocks in (min(BLOCKS, len(items)), None):
        for outcome in _passed(left, worker, share, blocks or len(left)) if left else ():
            if left.pop(outcome.output, None) is not None:  # an item done twice has two
                yield outcome
    for output in left:
        message = "its process died each time, or its node; memory may not suffice: use fewer workers a node."
        yield Outcome(output=output, status="failed", error={"code": "died", "message": message, "field": None})


def _passed(items: Mapping[str, Item], worker: Worker, share: Share, blocks: int) -> Iterator[Outcome]:
    from ray.data import ActorPoolStrategy, DataContext, from_items

    context = DataContext.get_current()
    context.enable_progress_bars = context.print_on_execution_start = False
    context.max_errored_blocks = -1  # `outcomes` tells which items are missing
    context.execution_no_progress_timeout_s = -1  # a picture may take hours
    context.target_max_block_size = 1024 * 1024  # the first estimate of a result, which limits how many run at once
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    rows = [{"item": item.model_dump_json(), "output": output} for output, item in items.items()]
    pool = ActorPoolStrategy(min_size=1, initial_size=min(share.workers, blocks), max_tasks_in_flight_per_actor=2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of max_task_retries: Ray 2.64 is to rename it
        results = from_items(rows, override_num_blocks=blocks).map(
            cast(Any, type(worker)),  # Ray makes it where it is to live
            fn_constructor_kwargs=vars(worker),
            compute=pool,
            num_cpus=share.threads,
            num_gpus=1 if share.device == "cuda" else None,
            runtime_env={"env_vars": variables(os.environ)},  # a node may have been started without
            max_task_retries=RETRIES,
        )
    for row in results.iter_rows():
        yield Outcome.model_validate_json(row["outcome"])
