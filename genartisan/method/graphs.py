"""CUDA graphs: a step is captured once for all runs of a shape, and then replayed with the tensors of any of them.

What is replayed reads and writes the memory that it was captured with, and asks nothing of Python: the host no longer
holds up the device. So a StyleNet, its optimiser and all that the losses are held against have a home here, which a run
moves into, and leaves with its weights when it ends.
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
from genartisan.method.painters import adam, drawn
from genartisan.method.targets import Scale
from genartisan.networks.memory import out_of_memory
from genartisan.networks.stylenet import StyleNet

logger = logging.getLogger(__name__)

WARM_UPS = 3  # steps before a capture, in which libraries choose their kernels and get their workspaces
MOST = 6  # graphs that are kept
MIN_CAPTURE_STEPS = 40  # steps of a run that is worth a capture, which takes as long as some

Outputs = tuple[Tensor, Tensor]  # the picture, (1, 3, H, W), and the losses, (7,)
Body = Callable[[], Outputs]
Take = Callable[[Scale, int], Outputs]


class Home:
    """A StyleNet and its Adam whose tensors stay where they are."""

    def __init__(self, like: StyleNet) -> None:
        self.stylenet = copy.deepcopy(like)
        self.rate = torch.zeros((), device=self._parameters[0].device)
        self.optimizer = adam(self.stylenet, self.rate)
        for parameter in self._parameters:
            parameter.grad = torch.zeros_like(parameter)
        self.optimizer.step()  # makes its state

    @property
    def _parameters(self) -> list[Tensor]:
        return list(self.stylenet.parameters())

    @property
    def _state(self) -> list[Tensor]:
        return [value for state in self.optimizer.state.values() for value in state.values()]

    @torch.no_grad()
    def welcome(self, stylenet: StyleNet) -> None:
        """Takes over a network's weights, with an optimiser that has taken no step."""
        for mine, theirs in zip(self._parameters, stylenet.parameters(), strict=True):
            mine.copy_(theirs)
        for value in self._state:
            value.zero_()

    @contextmanager
    def untouched(self) -> Iterator[None]:
        """Weights and optimiser are afterwards as they were before."""
        kept = [(value, value.detach().clone()) for value in (*self._parameters, *self._state)]
        try:
            yield
        finally:
            with torch.no_grad():
                for value, before in kept:
                    value.copy_(before)

    def forget_gradients(self) -> None:
        """Lets go of the gradients, which lie where a capture has put them."""
        self.optimizer.zero_grad(set_to_none=True)


class StepGraph:
    """A captured step of one shape, and the tensors that it reads."""

    def __init__(
        self, home: Home, objective: Objective, scale: Scale, dtype: torch.dtype, capture: Callable[[Body], Body]
    ) -> None:
        self._home = home
        self.objective, self.scale = objective.copied(), scale.copied()

        def body() -> Outputs:
            picture = drawn(home.stylenet, self.scale.content, dtype)
            home.optimizer.zero_grad(set_to_none=True)
            losses = self.objective.descend(picture, self.scale, 0)
            home.optimizer.step()
            return picture.detach(), losses

        with home.untouched():
            self._replay = capture(body)

    def load(self, objective: Objective, scale: Scale) -> None:
        """Takes over what a run's losses are held against."""
        for mine, theirs in zip(
            (*self.objective.tensors, *self.scale.tensors), (*objective.tensors, *scale.tensors), strict=True
        ):
            mine.copy_(theirs)

    def step(self, objective: Objective, scale: Scale, index: int) -> Outputs:
        """A step with the patches of the run's step ``index``; rejected patches are counted in its own objective."""
        for mine, theirs in zip(self.scale.patches.at(0), scale.patches.at(index), strict=True):
            mine.copy_(theirs)
        picture, losses = self._replay()
        objective.rejected.copy_(self.objective.rejected)
        return picture.clone(), losses.clone()  # the next replay writes over them


class Graphs:
    """The captured steps of a Stylizer: one run at a time, and the latest `MOST` shapes.

    All share one pool of memory, for no two of them are ever replayed at once. What the latest run of a shape was held
    against stays there until the next one comes, or until `clear`.

    Args:
        dtype: to compute in.
        capturing: makes, with a new pool each time, what turns a step into something that repeats it on its tensors.
    """

    def __init__(self, dtype: torch.dtype, capturing: Callable[[], Callable[[Body], Body]]) -> None:
        self._dtype = dtype
        self._capturing = capturing
        self._capture = capturing()
        self._homes: dict[Any, Home] = {}
        self._graphs = OrderedDict[Any, StepGraph]()
        self._in_use = threading.Lock()

    def clear(self) -> bool:
        """Gives back all graphs and their memory; says whether there were any. None is, while a run goes on in them."""
        if not self._in_use.acquire(blocking=False):
            return False
        try:
            some = bool(self._homes)
            self._forget()
            self._homes.clear()
        finally:
            self._in_use.release()
        return some

    def _forget(self) -> None:
        for home in self._homes.values():
            home.forget_gradients()
        self._graphs.clear()
        self._capture = self._capturing()  # a pool in which a capture has failed takes no other

    @contextmanager
    def home_of(self, stylenet: StyleNet) -> Iterator[Home | None]:
        """A home for a run with this network; None while another run has it."""
        if not self._in_use.acquire(blocking=False):
            logger.info("another run has the captured steps; this one takes its own")
            yield None
            return
        try:
            key = shape_of(stylenet)
            if key not in self._homes:
                self._homes[key] = Home(stylenet)
            self._homes[key].welcome(stylenet)
            yield self._homes[key]
        finally:
            self._in_use.release()

    def steps_in(self, home: Home, objective: Objective) -> Take:
        """What takes the steps of a run that has this home, one after another; it captures what is not captured yet."""
        loaded: weakref.ref[StepGraph] | None = None  # weak, or its memory would be kept where graphs are given back

        def take(scale: Scale, index: int) -> Outputs:
            nonlocal loaded
            graph = self._graph(home, objective, scale)
            if loaded is None or graph is not loaded():
                graph.load(objective, scale)
                loaded = weakref.ref(graph)
            return graph.step(objective, scale, index)

        return take

    def _graph(self, home: Home, objective: Objective, scale: Scale) -> StepGraph:
        key = (shape_of(home.stylenet), objective.shape, scale.shape)
        if key not in self._graphs:
            while len(self._graphs) >= MOST:
                self._graphs.popitem(last=False)
            others = len(self._graphs)
            try:
                self._graphs[key] = self._captured(home, objective, scale)
            except Exception as error:
                if not others or not out_of_memory(error):
                    raise
        if key not in self._graphs:  # without the others, which are forgotten now, memory may suffice
            self._graphs[key] = self._captured(home, objective, scale)
        self._graphs.move_to_end(key)
        return self._graphs[key]

    def _captured(self, home: Home, objective: Objective, scale: Scale) -> StepGraph:
        try:
            return StepGraph(home, objective, scale, self._dtype, self._capture)
        except Exception:
            self._forget()
            raise


def shape_of(stylenet: StyleNet) -> tuple[torch.Size, ...]:
    """What tells networks that may share a home: the shapes of their weights."""
    return tuple(parameter.shape for parameter in stylenet.parameters())


def cuda_capture(device: torch.device) -> Callable[[Body], Body]:
    """What captures steps on a GPU, one at a time in a process, all in one pool of memory."""
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
                # Other threads may ask the GPU for memory meanwhile.
                with torch.cuda.graph(graph, pool=pool, stream=stream, capture_error_mode="thread_local"):
                    outputs = body()
            except Exception as error:  # ending the capture fails as well, and would hide what broke it
                raise error.__context__ or error from None

        def replay() -> Outputs:
            graph.replay()
            return outputs

        return replay

    return capture


_one_capture = threading.Lock()
