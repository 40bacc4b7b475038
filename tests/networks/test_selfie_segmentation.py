"""MediaPipe's selfie segmentation as our module, and its areas confirmed by a second network."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from genartisan.networks.confirmed_segmentation import ConfirmedSegmentation, area_means, connected_areas
from genartisan.networks.factory import build
from genartisan.networks.normalization import IMAGENET_MEAN, IMAGENET_STD, standardized
from genartisan.networks.selfie_segmentation import SelfieSegmentation

WITNESS = {"classes": ["__background__", "person"], "widths": [8, 8, 8, 8], "image_size": 64}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def network() -> SelfieSegmentation:
    torch.manual_seed(0)
    return SelfieSegmentation().eval()


def confirmed(agreement: float) -> ConfirmedSegmentation:
    torch.manual_seed(0)
    return ConfirmedSegmentation(witness=WITNESS, agreement=agreement).eval()


def images(*shape: int, seed: int = 0) -> Tensor:
    """Normalised noise, coarse enough to outlast the resizing, ``shape``."""
    coarse = torch.rand((*shape[:2], 8, 8), generator=torch.Generator().manual_seed(seed))
    return standardized(torch.nn.functional.interpolate(coarse, shape[2:]), IMAGENET_MEAN, IMAGENET_STD)


@pytest.mark.parametrize("size", [(256, 256), (256, 583), (640, 256), (33, 32)])
@pytest.mark.parametrize("kind", ["selfie", "confirmed"])
def test_any_shape_of_photo_gets_logits_of_its_size(
    network: SelfieSegmentation, kind: str, size: tuple[int, int]
) -> None:
    model = network if kind == "selfie" else confirmed(0.5)
    assert model.classes == ("__background__", "person")
    with torch.no_grad():
        logits = model(images(2, 3, *size))["out"]
    assert logits.shape == (2, 2, *size)
    assert logits.isfinite().all()
    assert not logits[:, 0].any()


@pytest.mark.parametrize("kind", ["selfie", "confirmed"])
def test_a_batch_is_its_pictures_one_by_one_and_twice_the_same(network: SelfieSegmentation, kind: str) -> None:
    model = network if kind == "selfie" else confirmed(0.5)
    batch = images(3, 3, 256, 300)
    with torch.no_grad():
        together = model(batch)["out"]
        single = torch.cat([model(picture[None])["out"] for picture in batch])
        assert torch.equal(together, model(batch)["out"])
    torch.testing.assert_close(together, single, rtol=1e-4, atol=1e-5)


def test_gradients_reach_the_pixels_and_every_weight(network: SelfieSegmentation) -> None:
    pixels = images(1, 3, 256, 256).requires_grad_()
    gradients = torch.autograd.grad(network(pixels)["out"].square().sum(), [pixels, *network.parameters()])
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert gradients[0].abs().sum() > 0


def test_bf16_is_close_to_fp32(network: SelfieSegmentation) -> None:
    batch = images(2, 3, 256, 256)
    with torch.no_grad():
        exact = network(batch)["out"][:, 1]
        rounded = _copied(network).bfloat16()(batch.bfloat16())["out"][:, 1]
        confirmed(0.5).bfloat16()(batch.bfloat16())
    assert rounded.dtype == torch.bfloat16
    assert (rounded.float() - exact).abs().max() < 0.05 * exact.abs().max()


@pytest.mark.parametrize(
    "architecture",
    [{"kind": "selfie_segmentation"}, {"kind": "confirmed_segmentation", "witness": WITNESS, "agreement": 0.3}],
)
def test_every_tensor_comes_from_the_weights(architecture: dict[str, object]) -> None:
    empty = build("fcn", architecture)
    full = confirmed(0.3) if "witness" in architecture else SelfieSegmentation()
    empty.load_state_dict(full.state_dict(), assign=True)
    assert not any(tensor.is_meta for tensor in (*empty.parameters(), *empty.buffers()))


@pytest.mark.parametrize("change", [{"agreement": 1.5}, {"witness": {**WITNESS, "classes": ["person", "cat"]}}])
def test_arguments_that_make_no_sense_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(change))):
        ConfirmedSegmentation(**{"witness": WITNESS, "agreement": 0.3, **change})  # type: ignore[arg-type]


def test_an_area_counts_whole_or_not_at_all() -> None:
    batch = images(1, 3, 256, 256)
    with torch.no_grad():
        everything, nothing = (confirmed(agreement)(batch)["out"][:, 1] for agreement in (0.0, 1.0))
        alone = confirmed(0.0).outline(batch)["out"][:, 1]
    assert (alone > 0).any()
    assert torch.equal(everything, alone)
    assert not (nothing > 0).any()


def test_areas_are_connected_cells_and_have_their_own_means() -> None:
    mask = torch.tensor([[1, 0, 0, 1], [0, 1, 0, 1], [0, 0, 0, 0], [1, 1, 1, 1]], dtype=torch.bool)[None, None]
    areas = connected_areas(mask)
    assert areas[0, 0].tolist() == [[6, 0, 0, 8], [0, 6, 0, 8], [0, 0, 0, 0], [16, 16, 16, 16]]
    values = torch.arange(16.0).view(1, 1, 4, 4)
    weights = torch.ones(1, 1, 4, 4)
    weights[..., 3, :2] = 0  # cells of an area that weigh nothing
    assert area_means(values, weights, areas)[0, 0].tolist() == [
        [2.5, 0, 0, 5],
        [0, 2.5, 0, 5],
        [0, 0, 0, 0],
        [14.5, 14.5, 14.5, 14.5],
    ]


def test_areas_are_those_that_opencv_finds() -> None:
    cv2 = pytest.importorskip("cv2")
    noise = np.random.default_rng(0).random((64, 64))
    comb = np.zeros((64, 64), bool)
    comb[::4] = comb[:, -1] = True
    masks = np.stack([*(noise < share for share in (0, 0.1, 0.3, 0.4, 0.5, 0.9, 1)), comb])
    areas = connected_areas(torch.from_numpy(masks)[:, None])[:, 0].numpy()
    for mask, numbers in zip(masks, areas, strict=True):
        count, expected = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
        pairs = set(zip(numbers[mask].tolist(), expected[mask].tolist(), strict=True))
        assert len(pairs) == len({number for number, _ in pairs}) == count - 1
        assert not numbers[~mask].any()


def test_other_files_are_refused(tmp_path: Path) -> None:
    pytest.importorskip("skimage")
    from genartisan.training.convert_selfie import convert

    path = tmp_path / "selfie_segmentation.tflite"
    path.write_bytes(b"\0\0\0\0TFL3 and nothing else")
    with pytest.raises(ValueError, match=r"selfie_segmentation\.tflite of npm's @mediapipe"):
        convert(path)


def test_agrees_with_the_original_in_its_own_runtime() -> None:
    interpreter_module = pytest.importorskip("ai_edge_litert.interpreter")
    data = pytest.importorskip("skimage.data")
    from genartisan.training.convert_selfie import FILE, convert

    folder = os.environ.get("GENARTISAN_PRETRAINED")
    path = next(iter(sorted(Path(folder).rglob(FILE))), None) if folder else None
    if path is None:
        pytest.skip(f"no {FILE} under GENARTISAN_PRETRAINED")
    network = SelfieSegmentation().eval()
    network.load_state_dict(convert(path))
    theirs = interpreter_module.Interpreter(str(path), num_threads=1)
    theirs.allocate_tensors()
    for photo in (data.astronaut()[::2, ::2], data.coffee()[:256, :256], data.chelsea()[:256, :256]):
        pixels = np.ascontiguousarray(photo, np.float32)[None] / 255  # (1, 256, 256, 3)
        theirs.set_tensor(theirs.get_input_details()[0]["index"], pixels)
        theirs.invoke()
        expected = theirs.get_tensor(theirs.get_output_details()[0]["index"])[0, ..., 0]  # (256, 256)
        ours = standardized(torch.from_numpy(pixels).permute(0, 3, 1, 2), IMAGENET_MEAN, IMAGENET_STD)
        with torch.no_grad():
            person = network(ours)["out"].softmax(dim=1)[0, 1]
        assert np.abs(person.numpy() - expected).max() < 1e-3


def _copied(network: SelfieSegmentation) -> SelfieSegmentation:
    copy = SelfieSegmentation().eval()
    copy.load_state_dict(network.state_dict())
    return copy
