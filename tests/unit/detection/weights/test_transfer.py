"""Where fine-tuning begins: what of a trained detector a new one takes over."""

from dataclasses import replace

import pytest
import torch

from focalkit.config import DecoderConfig, ModelConfig, NumericsConfig
from focalkit.detection import build_detector
from focalkit.detection.models.card import ModelCard
from focalkit.detection.weights.transfer import CLASS_OUTPUT, LABELS, _found, check_structure, transfer
from focalkit.errors import ConfigError
from focalkit.losses import prior_bias

SMALL = ModelConfig("tiny", "batch", 0, 8, 8, 1, prior_prob=0.02)
NAMES = ("cat", "dog", "bird", "cow")


def detector(classes, names=None, config=SMALL, seed=0):
    torch.manual_seed(seed)
    model = build_detector(config, classes)
    for name, parameter in model.named_parameters():
        if name.startswith(CLASS_OUTPUT) and name.endswith("bias"):
            torch.nn.init.normal_(parameter)
    model.card = ModelCard(config, None if names is None else tuple(enumerate(names)))
    return model.eval()


def logits(model):
    with torch.no_grad():
        found = model(torch.full((1, 3, 64, 64), 0.3)).logits
    return [level.unflatten(1, (-1, model.num_classes)) for level in found]


def others_equal(one, other):
    one, other = one.state_dict(), other.state_dict()
    return all(torch.equal(t, other[name]) for name, t in one.items() if not name.startswith(CLASS_OUTPUT))


@pytest.mark.parametrize("kind", ["retinanet", "gfl"])
@pytest.mark.parametrize("names", [NAMES, ("bird", "Cat"), ("cow", "bird", "dog", "cat")])
def test_classes_are_found_by_name_whatever_their_order_and_number(kind, names):
    config = replace(SMALL, detector=kind)
    source, model = detector(4, NAMES, config), detector(len(names), config=config, seed=1)
    note = transfer(model, source, names, "old.pth")
    assert note == f"classes: {len(names)} of the 4 in old.pth, found by their names"
    assert others_equal(source, model)
    rows = [NAMES.index(name.lower()) for name in names]
    for ours, theirs in zip(logits(model), logits(source), strict=True):
        torch.testing.assert_close(ours, theirs[:, :, rows])


@pytest.mark.parametrize(
    ("theirs", "names", "said"),
    [
        (NAMES, ("ship",), "has 4 (cat, dog, bird, ...), the data 1 (ship)"),
        (None, ("cat", "dog"), "has 4, the data 2 (cat, dog)"),
    ],
)
def test_with_other_classes_the_class_output_starts_anew_at_the_prior(theirs, names, said):
    source = detector(4, theirs)
    torch.manual_seed(1)
    model = build_detector(SMALL, len(names))
    weight = model.head.class_output.weight.clone()
    assert said in transfer(model, source, names, "old.pth")
    assert others_equal(source, model)
    assert torch.equal(model.head.class_output.weight, weight)
    torch.testing.assert_close(model.head.class_output.bias, torch.full((9 * len(names),), prior_bias(0.02)))


@pytest.mark.parametrize("kind", ["retinanet", "gfl", "rtdetrv2"])
@pytest.mark.parametrize(
    "names", [("ship", "dog", "cat", "bird", "cow", "boat"), ("cow", "ship"), ("cat", "ship", "bird", "cow")]
)
def test_known_classes_keep_their_rows_and_new_ones_start_at_the_prior(kind, names):
    config = replace(SMALL, detector=kind)
    if kind == "rtdetrv2":
        config = replace(config, backbone="resnet18vd", fpn_channels=32, decoder=DecoderConfig(1, 5, 0.5, 4, 4, 32))
    source, model = detector(4, NAMES, config), detector(len(names), config=config, seed=1)
    fresh = {name: t.clone() for name, t in model.state_dict().items()}
    note = transfer(model, source, names, "old.pth")
    known = [name for name in names if name in NAMES]
    new = [name for name in names if name not in NAMES]
    assert f"{len(known)} of the 4 in old.pth, found by their names; {len(new)} new ({new[0]}" in note
    for name, t in model.state_dict().items():
        if not name.startswith((CLASS_OUTPUT, LABELS)):
            continue
        theirs, extra = source.state_dict()[name], int(name.startswith(LABELS))
        cells = (len(t) - extra) // len(names)
        for cell in range(cells):
            for place, label in enumerate(names):
                row = cell * len(names) + place
                old = theirs[cell * 4 + NAMES.index(label)] if label in NAMES else fresh[name][row]
                assert torch.equal(t[row], old)
        assert not extra or torch.equal(t[-1], theirs[-1])


def test_names_that_are_spelt_the_same_go_before_those_alike():
    assert _found(["Cat", "cat", "traffic light"], ["cat", "CAT", "traffic_light", "Traffic-Light"]) == [1, 0, 2, -1]


def test_as_many_classes_without_names_are_taken_for_the_same():
    source, model = detector(4), detector(4, seed=1)
    assert "does not name its 4" in transfer(model, source, NAMES, "old.pth")
    for ours, theirs in zip(logits(model), logits(source), strict=True):
        assert torch.equal(ours, theirs)


def test_a_frozen_backbone_takes_the_statistics_of_a_live_one():
    live = ModelConfig("resnet18", "batch", 0, 8, 8, 1)
    source, model = detector(2, config=live), detector(2, config=replace(live, backbone_norm="frozen"), seed=1)
    source.backbone.get_submodule("body.bn1").running_mean.normal_()
    transfer(model, source, ("a", "b"), "old.pth")
    for ours, theirs in zip(logits(model), logits(source), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"backbone": "resnet18"}, "model.backbone: 'resnet18' is asked for, the file has 'tiny'"),
        (
            {"head_depth": 2, "fpn_channels": 16},
            "model.fpn_channels: 16 is asked for, the file has 8\n  model.head_d",
        ),
        ({"detector": "fcos"}, "model.detector: 'fcos' is asked for, the file has 'retinanet'"),
        ({"head_norm": "group"}, "model.head_norm: 'group' is asked for, the file has 'none'"),
        ({"anchor_scales": (1.0,)}, "3 anchors a cell are asked for, the file has 9"),
        ({"numerics": NumericsConfig(p6_from="p5")}, "model.numerics.p6_from: 'p5' is asked for, the file has 'c5'"),
    ],
)
def test_another_architecture_is_refused_with_what_to_set(change, said):
    with pytest.raises(ConfigError) as caught:
        check_structure(replace(SMALL, **change), SMALL, "old.pth")
    assert said in str(caught.value)
    assert "leave these settings out" in str(caught.value)


def test_what_does_not_shape_weights_may_differ():
    free = replace(SMALL, anchor_sizes=(8.0, 16.0, 32.0, 64.0, 128.0), freeze_at=1, prior_prob=0.1)
    check_structure(free, SMALL, "old.pth")
