"""MMDetection's RTMDet files: names and shapes from its sources, the same predictions, exactly back."""

import pytest
import torch

from focalkit.detection import load_weights, save_weights
from focalkit.detection.weights import weights_as
from focalkit.errors import InputError
from reference import rtmdet as R

CLASSES = ("cat", "dog", "bird")


@pytest.fixture(scope="module")
def state():
    return R.state_dict("tiny", 3)


@pytest.fixture(scope="module")
def model(state):
    return load_weights({"state_dict": state, "meta": {"dataset_meta": {"classes": CLASSES}}})


@pytest.mark.parametrize("exp_on_reg", [False, True])
def test_it_predicts_what_mmdetection_predicts(state, exp_on_reg):
    text = f"model = dict(bbox_head=dict(type='RTMDetSepBNHead', exp_on_reg={exp_on_reg}))"
    model = load_weights({"state_dict": state, "meta": {"cfg": text}})
    images = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        out = model(images)
        logits, boxes = R.forward(state, images, exp_on_reg)
    for ours, theirs in zip(out.logits, logits, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)
    for deltas, priors, theirs in zip(out.deltas, out.priors, boxes, strict=True):
        ours = model.postprocess.coder.decode(deltas.permute(0, 2, 3, 1).reshape(2, -1, 4), priors)
        torch.testing.assert_close(ours, theirs, atol=2e-3, rtol=1e-4)


def test_what_the_file_says_goes_into_the_card(model):
    card = model.card
    assert (card.config.detector, card.config.backbone, card.config.neck_depth) == ("rtmdet", "cspnext_tiny", 1)
    assert card.categories == tuple(enumerate(CLASSES))
    assert (card.min_size, card.max_size) == (640, 640)
    assert model.postprocess.max_detections == 300
    assert card.config.numerics.resize == "mmdet"


def test_weights_go_there_and_back_exactly(model, state, tmp_path):
    back = weights_as(model, "mmdet")
    weights = {name: t for name, t in state.items() if not name.endswith("num_batches_tracked")}
    assert set(back) == set(weights)
    assert all(torch.equal(back[name], t) for name, t in weights.items())
    save_weights(model, tmp_path / "rtmdet.pth", layout="mmdet")
    again = load_weights(tmp_path / "rtmdet.pth")
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))


def test_our_own_file_keeps_all_of_it(model, tmp_path):
    save_weights(model, tmp_path / "own.safetensors")
    again = load_weights(tmp_path / "own.safetensors")
    assert again.card == model.card
    assert again.postprocess == model.postprocess
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        assert all(torch.equal(a, b) for a, b in zip(model(images).logits, again(images).logits, strict=True))


@pytest.mark.parametrize(
    ("size", "backbone", "depth", "plain"), [("s", "cspnext_s", 1, True), ("m", "cspnext_m", 2, False)]
)
def test_other_sizes_are_known_by_their_shapes_and_go_back_exactly(size, backbone, depth, plain):
    state = R.state_dict(size, 1)
    model = load_weights(state)
    config, back = model.card.config, weights_as(model, "mmdet")
    assert (config.backbone, config.neck_depth, config.numerics.plain_distances) == (backbone, depth, plain)
    assert set(back) == {name for name in state if not name.endswith("num_batches_tracked")}
    assert all(torch.equal(t, state[name]) for name, t in back.items())


def damaged(state, **changes):
    return {name: t for name, t in (state | changes).items() if t is not None}


def test_what_does_not_fit_is_named(state):
    with pytest.raises(InputError, match=r"neck\.out_convs\.1\.conv\.weight"):
        load_weights(damaged(state, **{"neck.out_convs.1.conv.weight": None}))
    with pytest.raises(InputError, match=r"bbox_head\.rtm_obj\.0\.weight"):
        load_weights(damaged(state, **{"bbox_head.rtm_obj.0.weight": torch.zeros(1, 96, 1, 1)}))
    with pytest.raises(InputError, match=r"cls_convs\.2\.1\.conv\.weight is not that of the first level"):
        load_weights(damaged(state, **{"bbox_head.cls_convs.2.1.conv.weight": torch.zeros(96, 96, 3, 3)}))
    with pytest.raises(InputError, match="known are cspnext_tiny"):
        load_weights(damaged(state, **{"backbone.stem.2.conv.weight": torch.zeros(30, 12, 3, 3)}))
    with pytest.raises(InputError, match=r"it has no bbox_head\.cls_convs\.0\.0\.conv\.weight"):
        load_weights({n: t for n, t in state.items() if ".cls_convs." not in n})


def test_other_libraries_have_no_rtmdet(model):
    with pytest.raises(InputError, match="torchvision"):
        weights_as(model, "torchvision")
