"""CUDA graphs: a step is captured once for each shape and replayed for every run of that shape.

A replay reads and writes the memory of its capture and needs no Python, so the host no longer holds up the device. A
run therefore copies its weights, its optimiser's state and its targets into static buffers, and takes its weights back
when it ends.
"""

from __future__ import annotations

import copy
import logging
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from genartisan.method.objective import Objective
from genartisan.method.painters import Painter, adam, composed, draw_layers
from genartisan.method.targets import ScaleTargets
from genartisan.networks.memory import out_of_memory

logger = logging.getLogger(__name__)

WARM_UPS = 3  # steps before a capture: libraries choose kernels and allocate workspaces
MAX_GRAPHS = 6  # the least recently used goes first
MIN_CAPTURE_STEPS = 40  # of a run: a capture takes as long as several steps

Outputs = tuple[Tensor, Tensor]  # the picture, (1, 3, H, W), and the losses, (7,)
Body = Callable[[], Outputs]
TakeStep = Callable[[ScaleTargets, int], Outputs]


class StaticBuffers:
    """A painter and its optimiser in memory that does not move."""

    def __init__(self, like: Painter) -> None:
        self.painter = copy.deepcopy(like)
        self.rate = torch.zeros((), device=self._parameters[0].device)
        self.optimizer = adam(self.painter, self.rate)
        for parameter in self._parameters:
            parameter.grad = torch.zeros_like(parameter)
        self.optimizer.step()  # allocates its state

    @property
    def _parameters(self) -> list[Tensor]:
        return list(self.painter.parameters())

    @property
    def _state(self) -> list[Tensor]:
        return [value for state in self.optimizer.state.values() for value in state.values()]

    @torch.no_grad()
    def load(self, painter: Painter) -> None:
        """Copies a painter's weights in, and resets the optimiser."""
        for mine, theirs in zip(self._parameters, painter.parameters(), strict=True):
            mine.copy_(theirs)
        for value in self._state:
            value.zero_()

    @contextmanager
    def untouched(self) -> Iterator[None]:
        """Restores weights and optimiser at the end."""
        saved = [(value, value.detach().clone()) for value in (*self._parameters, *self._state)]
        try:
            yield
        finally:
            with torch.no_grad():
                for value, before in saved:
                    value.copy_(before)

    def forget_gradients(self) -> None:
        """Frees the gradients, which lie in the memory of a capture."""
        self.optimizer.zero_grad(set_to_none=True)


class StepGraph:
    """A captured step of one shape, with its static inputs."""

    def __init__(
        self,
        buffers: StaticBuffers,
        objective: Objective,
        targets: ScaleTargets,
        dtype: torch.dtype,
        capture: Callable[[Body], Body],
    ) -> None:
        self._static = buffers
        self.objective, self.targets = objective.copied(), targets.copied()

        def body() -> Outputs:
            layers = draw_layers(buffers.painter, self.targets.net_input, dtype)
            buffers.optimizer.zero_grad(set_to_none=True)
            losses = self.objective.backward(layers, self.targets, 0)
            buffers.optimizer.step()
            return composed(layers.detach(), self.targets.net_input), losses

        with buffers.untouched():
            self._replay = capture(body)

    def load(self, objective: Objective, targets: ScaleTargets) -> None:
        """Copies a run's objective and targets in."""
        for mine, theirs in zip(
            (*self.objective.tensors, *self.targets.tensors), (*objective.tensors, *targets.tensors), strict=True
        ):
            mine.copy_(theirs)

    def step(self, objective: Objective, targets: ScaleTargets, index: int) -> Outputs:
        """Replays a step with the patches of step ``index``; counts rejected patches in the run's objective."""
        for mine, theirs in zip(self.targets.patches.at(0), targets.patches.at(index), strict=True):
            mine.copy_(theirs)
        picture, losses = self._replay()
        objective.rejected.copy_(self.objective.rejected)
        return picture.clone(), losses.clone()  # the next replay overwrites them


class Graphs:
    """The captured steps of a Stylizer: one run at a time, and the latest `MAX_GRAPHS` shapes.

    All graphs share one memory pool, because no two are replayed at once. The targets of the latest run of a shape stay
    in memory until the next run, or until `clear`.

    Args:
        dtype: to compute in.
        capturing: makes a capture function, with a new memory pool each time.
    """

    def __init__(self, dtype: torch.dtype, capturing: Callable[[], Callable[[Body], Body]]) -> None:
        self._dtype = dtype
        self._capturing = capturing
        self._capture = capturing()
        self._buffers: dict[Any, StaticBuffers] = {}
        self._graphs = OrderedDict[Any, StepGraph]()
        self._in_use = threading.Lock()

    def clear(self) -> bool:
        """Frees all graphs; returns whether there were any. While a run uses them, it frees nothing."""
        if not self._in_use.acquire(blocking=False):
            return False
        try:
            some = bool(self._buffers)
            self._forget()
            self._buffers.clear()
        finally:
            self._in_use.release()
        return some

    def _forget(self) -> None:
        for buffers in self._buffers.values():
            buffers.forget_gradients()
        self._graphs.clear()
        self._capture = self._capturing()  # a pool with a failed capture accepts no other

    @contextmanager
    def buffers_for(self, painter: Painter) -> Iterator[StaticBuffers | None]:
        """Buffers loaded with this painter; None while another run has them."""
        if not self._in_use.acquire(blocking=False):
            logger.info("another run uses the captured steps; this run is not captured")
            yield None
            return
        try:
            key = shape_of(painter)
            if key not in self._buffers:
                self._buffers[key] = StaticBuffers(painter)
            self._buffers[key].load(painter)
            yield self._buffers[key]
        finally:
            self._in_use.release()

    def steps_in(self, buffers: StaticBuffers, objective: Objective) -> TakeStep:
        """A function that runs steps in these buffers and captures each shape when it first occurs."""
        loaded: weakref.ref[StepGraph] | None = None  # weak, so that `clear` frees its memory

        def take(targets: ScaleTargets, index: int) -> Outputs:
            nonlocal loaded
            graph = self._graph(buffers, objective, targets)
            if loaded is None or graph is not loaded():
                graph.load(objective, targets)
                loaded = weakref.ref(graph)
            return graph.step(objective, targets, index)

        return take

    def _graph(self, buffers: StaticBuffers, objective: Objective, targets: ScaleTargets) -> StepGraph:
        key = (shape_of(buffers.painter), objective.shape, targets.shape)
        if key not in self._graphs:
            while len(self._graphs) >= MAX_GRAPHS:
                self._graphs.popitem(last=False)
            others = len(self._graphs)
            try:
                self._graphs[key] = self._captured(buffers, objective, targets)
            except Exception as error:
                if not others or not out_of_memory(error):
                    raise
        if key not in self._graphs:  # the failure freed the other graphs, so memory may suffice now
            self._graphs[key] = self._captured(buffers, objective, targets)
        self._graphs.move_to_end(key)
        return self._graphs[key]

    def _captured(self, buffers: StaticBuffers, objective: Objective, targets: ScaleTargets) -> StepGraph:
        try:
            return StepGraph(buffers, objective, targets, self._dtype, self._capture)
        except Exception:
            self._forget()
            raise


def shape_of(painter: Painter) -> tuple[torch.Size, ...]:
    """Key of painters that can share buffers: the shapes of their weights."""
    return tuple(parameter.shape for parameter in painter.parameters())


def cuda_capture(device: torch.device) -> Callable[[Body], Body]:
    """A function that captures steps on a GPU, one at a time in a process, all in one memory pool."""
    pool, stream = torch.cuda.graph_pool_handle(), torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def capture(body: Body) -> Body:
        with _one_capture, torch.cuda.device(device):
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                for _ in range(WARM_UPS):
                    body()
            torch.cuda.current_stream().wait_stream(stream)
            graph = torch.cuda.CUDAGraph()
            try:
                # thread_local: other threads may allocate GPU memory meanwhile
                with torch.cuda.graph(graph, pool=pool, stream=stream, capture_error_mode="thread_local"):
                    outputs = body()
            except Exception as error:  # ending the capture fails too, and would hide the cause
                raise error.__context__ or error from None

        def replay() -> Outputs:
            graph.replay()
            return outputs

        return replay

    return capture


_one_capture = threading.Lock()
