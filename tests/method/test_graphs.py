"""Captured steps, without a GPU: what is captured here is the step's own code, over the tensors of its home."""

from __future__ import annotations

import pytest
import tiny
import torch

from genartisan.config import StyleConfig
from genartisan.method import graphs
from genartisan.method.batching import step_together
from genartisan.method.graphs import Body, Graphs
from genartisan.method.stylization import Result, Stylization
from genartisan.method.stylizer import Stylizer
from genartisan.method.targets import ScaleTargets, scale_targets
from genartisan.networks.bundle import Bundle

RATE = 2**-9  # single precision holds it as it is, and so does a captured step
CONFIG = StyleConfig(size=64, steps=6, patches=4, patch_size=32, learning_rate=RATE, halve_every=2)


class Captures:
    """Stands in for CUDA's: a step is taken before its capture, as there, and is told how often it was captured."""

    def __init__(self) -> None:
        self.count, self.failures = 0, 0

    def __call__(self, body: Body) -> Body:
        self.count += 1
        for _ in range(2):
            body()
        if self.failures:
            self.failures -= 1
            raise MemoryError
        return body


@pytest.fixture(autouse=True)
def always_worth_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("genartisan.method.engine.MIN_CAPTURE_STEPS", 0)


@pytest.fixture
def captures() -> Captures:
    return Captures()


@pytest.fixture
def capturing(tiny_bundle: Bundle, captures: Captures) -> Stylizer:
    stylizer = Stylizer(tiny_bundle, "cpu", "fp32")
    stylizer.graphs = Graphs(stylizer.dtype, lambda: captures)
    return stylizer


def made(stylizer: Stylizer, seed: int = 0, prompt: str = "fire", **changes: object) -> Result:
    config = CONFIG.updated(changes)
    return stylizer(tiny.picture(seed=seed), prompt, config=config, mask=tiny.mask(), seed=seed)


def same(one: Result, other: Result) -> bool:
    def told(result: Result) -> dict[str, object]:
        return {name: value for name, value in result.report.items() if name != "seconds"}

    return one.image.tobytes() == other.image.tobytes() and told(one) == told(other)


@pytest.mark.parametrize("mode", ["artisan", "clipstyler"])
def test_a_captured_run_is_the_run_itself(
    tiny_stylizer: Stylizer, capturing: Stylizer, captures: Captures, mode: str
) -> None:
    changes = {"mode": mode, "coarse_share": 0.5, "lambda_pixel": 1000.0}
    assert same(made(capturing, **changes), made(tiny_stylizer, **changes))
    assert captures.count == 2  # one for each scale


def test_a_run_of_several_texts_is_captured_too(
    tiny_stylizer: Stylizer, capturing: Stylizer, captures: Captures
) -> None:
    changes = {"regions": {"portrait": {"prompt": "ice", "share": 0.5}}}
    assert same(made(capturing, **changes), made(tiny_stylizer, **changes))
    assert captures.count == 1
    assert same(made(capturing, seed=1), made(tiny_stylizer, seed=1))  # buffers of its own
    assert captures.count == 2
    assert same(made(capturing, seed=2, **changes), made(tiny_stylizer, seed=2, **changes))
    assert captures.count == 2


def test_a_run_from_the_draft_is_not_captured(tiny_stylizer: Stylizer, capturing: Stylizer, captures: Captures) -> None:
    changes = {"start": "draft", "numbers_rate": 0.01}
    assert same(made(capturing, **changes), made(tiny_stylizer, **changes))
    assert captures.count == 0


@pytest.mark.slow
def test_a_graph_serves_every_run_of_its_shape(
    tiny_stylizer: Stylizer, capturing: Stylizer, captures: Captures
) -> None:
    for seed, prompt, changes in (
        (1, "fire", {}), (2, "watercolor painting", {"steps": 4, "lambda_patch": 500.0}),
        (3, "fire", {"threshold": 0.9}),
        (4, "fire", {"regions": {"portrait": {"weight": 0.0}}}),
    ):  # fmt: skip
        assert same(made(capturing, seed, prompt, **changes), made(tiny_stylizer, seed, prompt, **changes))
    assert captures.count == 1
    masks = {"portrait": tiny.mask(), "sky": tiny.mask(box=(40, 0, 64, 48))}
    first, second = (each(tiny.picture(), "fire", config=CONFIG, mask=masks) for each in (capturing, tiny_stylizer))
    assert same(first, second)  # a region more, and one text: a shape of its own
    assert captures.count == 2
    assert same(made(capturing, patches=5), made(tiny_stylizer, patches=5))
    assert captures.count == 3


def test_a_second_run_at_the_same_time_goes_on_by_itself(tiny_stylizer: Stylizer, capturing: Stylizer) -> None:
    runs = [capturing.steps(tiny.picture(seed=seed), "fire", config=CONFIG, seed=seed) for seed in (1, 2)]
    for _ in zip(*runs, strict=True):
        pass
    for seed, run in zip((1, 2), runs, strict=True):
        expected = tiny_stylizer(tiny.picture(seed=seed), "fire", config=CONFIG, seed=seed)
        assert same(run.result(), expected)


def test_a_run_keeps_its_picture_when_another_has_moved_in(tiny_stylizer: Stylizer, capturing: Stylizer) -> None:
    first = capturing.steps(tiny.picture(seed=1), "fire", config=CONFIG, seed=1)
    steps = [next(first) for _ in range(3)]
    previews = [step.preview().tobytes() for step in steps]
    midway = first.result().image.tobytes()
    first.close()
    made(capturing, 2)
    assert first.result().image.tobytes() == midway
    assert [step.preview().tobytes() for step in steps] == previews
    alone = tiny_stylizer.steps(tiny.picture(seed=1), "fire", config=CONFIG, seed=1)
    assert [next(alone).preview().tobytes() for _ in range(3)] == previews
    assert alone.result().image.tobytes() == midway


@pytest.mark.slow
def test_so_many_graphs_are_kept_the_latest_used(
    capturing: Stylizer, captures: Captures, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graphs, "MAX_GRAPHS", 2)
    for patches in (3, 4, 3, 5, 3):
        made(capturing, patches=patches, steps=2)
    assert captures.count == 3
    made(capturing, patches=4, steps=2)
    assert captures.count == 4


def test_a_short_run_is_not_captured(capturing: Stylizer, captures: Captures, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("genartisan.method.engine.MIN_CAPTURE_STEPS", 7)
    made(capturing)
    assert captures.count == 0


@pytest.mark.slow
def test_a_capture_that_fails_leaves_the_run_as_it_was(
    tiny_stylizer: Stylizer, capturing: Stylizer, captures: Captures
) -> None:
    config = CONFIG.updated({"coarse_share": 0.5})
    run = capturing.steps(tiny.picture(), "fire", config=config)
    alone = tiny_stylizer.steps(tiny.picture(), "fire", config=config)
    for _ in range(3):  # the coarse steps
        next(run), next(alone)
    captures.failures = 2
    with pytest.raises(MemoryError):
        next(run)
    assert same(run.result(), alone.result())
    assert same(made(capturing), made(tiny_stylizer))


def test_a_capture_for_which_memory_fails_is_tried_again_without_the_others(
    tiny_stylizer: Stylizer, capturing: Stylizer, captures: Captures
) -> None:
    changes = {"coarse_share": 0.5}
    run = capturing.steps(tiny.picture(), "fire", config=CONFIG.updated(changes), mask=tiny.mask())
    for _ in range(3):  # the coarse steps
        next(run)
    captures.failures = 1
    list(run)
    assert same(run.result(), made(tiny_stylizer, **changes))
    assert captures.count == 3


@pytest.mark.slow
def test_a_run_for_which_memory_fails_is_tried_again_without_captured_steps(
    tiny_stylizer: Stylizer, capturing: Stylizer, captures: Captures, monkeypatch: pytest.MonkeyPatch
) -> None:
    made(capturing)
    failures = [torch.OutOfMemoryError("CUDA out of memory")]

    def full(*arguments: object) -> ScaleTargets:
        if failures:
            raise failures.pop()
        return scale_targets(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr("genartisan.method.engine.scale_targets", full)
    assert same(made(capturing), made(tiny_stylizer))
    assert captures.count == 2  # those of the first run were given back
    failures.append(torch.OutOfMemoryError("CUDA out of memory"))
    with pytest.raises(torch.OutOfMemoryError):
        made(tiny_stylizer)  # which has nothing to give back


def test_an_error_of_the_caller_does_not_keep_the_home(
    capturing: Stylizer, captures: Captures, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(stylization: Stylization) -> Result:
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr(Stylization, "result", failing)
        with pytest.raises(ZeroDivisionError):
            made(capturing)
    assert capturing.graphs is not None
    assert capturing.graphs.clear()


def test_cleared_graphs_are_captured_anew(tiny_stylizer: Stylizer, capturing: Stylizer, captures: Captures) -> None:
    assert capturing.graphs is not None
    run = capturing.steps(tiny.picture(), "fire", config=CONFIG)
    next(run)
    assert not capturing.graphs.clear()  # in use
    run.close()
    assert capturing.graphs.clear()
    assert same(made(capturing), made(tiny_stylizer))
    assert captures.count == 2


def test_captured_runs_take_no_steps_together(capturing: Stylizer) -> None:
    runs = [capturing.steps(tiny.picture(seed=seed), "fire", config=CONFIG).run for seed in (1, 2)]
    with pytest.raises(ValueError, match="without graphs"):
        step_together(runs)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_on_a_gpu_captured_runs_are_the_runs_themselves(tiny_bundle: Bundle, precision: str) -> None:
    eager, captured = (Stylizer(tiny_bundle, "cuda", precision, graphs=graphs) for graphs in (False, True))
    texts = {"regions": {"portrait": {"prompt": "ice", "share": 0.5}}}
    for seed, changes in enumerate(({}, {"coarse_share": 0.5}, {"mode": "clipstyler"}, {"patches": 5}, texts, {})):
        one, other = (made(stylizer, seed, **changes).report["history"] for stylizer in (eager, captured))
        for ours, theirs in zip(one[:3], other[:3], strict=True):  # later steps amplify the rounding of the first
            assert ours == pytest.approx(theirs, rel=0.02, abs=1e-3)
        assert len({entry["total"] for entry in other}) > 1  # a graph that holds nothing repeats its losses
