import copy
import pickle
import urllib.error

import numpy as np
import pytest
import torch
import torchvision
from torch import nn
from torch.nn import functional as F

from focalkit.detection import BACKBONES, build_backbone, read_image, resize, resolve_backbone, to_unit
from focalkit.detection.models.frozen_norm import FrozenNorm, NormedConv2d
from focalkit.errors import ConfigError, InputError

SMALL = "resnet18"


def meta(name, **arguments):
    """The architecture without memory or arithmetic."""
    with torch.device("meta"):
        return build_backbone(name, **arguments)


def torchvision_state(name, seed=0):
    torch.manual_seed(seed)
    net = torchvision.models.get_model(name, weights=None)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.uniform_(module.weight, 0.5, 1.0)
    return net.eval(), net.state_dict()


@pytest.mark.parametrize("name", BACKBONES)
def test_each_gives_c3_c4_c5_with_the_channels_it_says(name):
    backbone = meta(name)
    features = backbone(torch.zeros(2, 3, 96, 160, device="meta"))
    assert [tuple(f.shape) for f in features] == [
        (2, c, 96 // s, 160 // s) for c, s in zip(backbone.channels, (8, 16, 32), strict=True)
    ]


@pytest.mark.parametrize("name", [n for n in BACKBONES if n in torchvision.models.list_models()])
def test_its_keys_are_torchvisions_up_to_c5(name):
    with torch.device("meta"):
        theirs = torchvision.models.get_model(name, weights=None).state_dict()
    behind = ("fc.", "classifier.", "features.18.")
    expected = {k: v.shape for k, v in theirs.items() if not k.startswith(behind) and "num_batches" not in k}
    ours = {k: v.shape for k, v in meta(name).body.state_dict().items() if "num_batches" not in k}
    assert ours == expected


@pytest.mark.parametrize(("suffix", "norm"), [(".pth", "batch"), (".npz", "frozen"), (".safetensors", "frozen")])
def test_a_weights_file_gives_torchvisions_features(tmp_path, suffix, norm):
    net, state = torchvision_state(SMALL)
    path = tmp_path / f"weights{suffix}"
    if suffix == ".pth":
        torch.save(state, path)
    elif suffix == ".npz":
        np.savez(path, **{k: v.numpy() for k, v in state.items()})
    else:
        pytest.importorskip("safetensors.torch").save_file(state, path)
    backbone = build_backbone(SMALL, weights=path, norm=norm).eval()
    images = torch.randn(1, 3, 64, 96)
    x = net.maxpool(net.relu(net.bn1(net.conv1(images))))
    c3 = net.layer2(net.layer1(x))
    c4 = net.layer3(c3)
    with torch.no_grad():
        got = backbone(images)
    for ours, theirs in zip(got, (c3, c4, net.layer4(c4)), strict=True):
        torch.testing.assert_close(ours, theirs.detach(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "wrap", [lambda s: {"state_dict": s}, lambda s: {"model": {f"module.{k}": v for k, v in s.items()}}]
)
def test_training_scripts_wrappings_are_taken_off(tmp_path, wrap):
    _, state = torchvision_state(SMALL)
    torch.save(wrap(state), tmp_path / "checkpoint.pth")
    backbone = build_backbone(SMALL, weights=tmp_path / "checkpoint.pth")
    assert torch.equal(backbone.body.state_dict()["conv1.weight"], state["conv1.weight"])


def test_half_precision_weights_become_float32(tmp_path):
    _, state = torchvision_state(SMALL)
    torch.save({k: v.half() if v.is_floating_point() else v for k, v in state.items()}, tmp_path / "half.pth")
    body = build_backbone(SMALL, weights=tmp_path / "half.pth").body
    assert {t.dtype for t in body.parameters()} == {torch.float32}


def test_keys_that_do_not_fit_are_named_with_the_nearest(tmp_path):
    _, state = torchvision_state(SMALL)
    state["layer1.0.conv1.weigth"] = state.pop("layer1.0.conv1.weight")
    state["conv1.weight"] = torch.zeros(64, 1, 7, 7)
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(InputError) as caught:
        build_backbone(SMALL, weights=tmp_path / "w.pth")
    message = str(caught.value)
    assert "w.pth" in message
    assert "3 keys" in message
    assert "conv1.weight: shape (64, 1, 7, 7), expected (64, 3, 7, 7)" in message
    assert "layer1.0.conv1.weight: missing (nearest: layer1.0.conv1.weigth)" in message
    assert "layer1.0.conv1.weigth: unknown" in message


def test_weights_of_another_network_are_refused_in_few_lines(tmp_path):
    _, state = torchvision_state("resnet34")
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(InputError, match=r"does not fit the backbone \(\d+ keys\)") as caught:
        build_backbone(SMALL, weights=tmp_path / "w.pth")
    assert str(caught.value).count("\n") < 12


def unreadable(tmp_path):
    (tmp_path / "text.pth").write_text("no weights")
    (tmp_path / "text.npz").write_text("no weights")
    (tmp_path / "weights.onnx").write_text("")
    torch.save([1, 2], tmp_path / "list.pth")
    (tmp_path / "code.pth").write_bytes(pickle.dumps(print, protocol=2))
    return {
        "missing.pth": "no such weights file",
        "text.pth": "cannot be read as weights",
        "text.npz": "cannot be read as weights",
        "weights.onnx": "expected a weights file ending in one of .pth",
        "list.pth": "holds no tensors by name",
        "code.pth": "cannot be read as weights",
    }


def test_a_file_that_is_no_weights_is_named(tmp_path):
    for name, message in unreadable(tmp_path).items():
        with pytest.raises(InputError, match=message) as caught:
            build_backbone(SMALL, weights=tmp_path / name)
        assert name in str(caught.value)
        assert "weights_only" not in str(caught.value)


def test_a_failed_download_points_to_the_offline_way(monkeypatch):
    def offline(*args, **kwargs):
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", offline)
    with pytest.raises(
        InputError, match=r"resnet18 could not be downloaded.*no route to host.*--backbone-weights FILE"
    ):
        build_backbone(SMALL, pretrained=True)


def test_downloaded_weights_are_put_in(monkeypatch):
    _, state = torchvision_state(SMALL)
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", lambda *a, **k: state)
    body = build_backbone(SMALL, pretrained=True).body
    assert torch.equal(body.state_dict()["layer4.1.bn2.bias"], state["layer4.1.bn2.bias"])


def test_an_unknown_name_gives_the_nearest():
    with pytest.raises(InputError, match="unknown backbone 'resnet5'; did you mean resnet50"):
        build_backbone("resnet5")


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        (SMALL, {"pretrained": True, "weights": "w.pth"}, "not both"),
        ("tiny", {"pretrained": True}, "trains from scratch"),
        ("mobilenet_v2_tf", {"pretrained": True}, "mobilenet_v2_tf has no weights to download"),
        ("mobilenet_v2_tf", {"norm": "batch"}, "set backbone_norm to frozen"),
        (SMALL, {"norm": "group"}, '"frozen" or "batch"'),
        (SMALL, {"freeze_at": 6}, "0 to 5, got 6"),
    ],
)
def test_options_that_contradict_each_other_are_refused(name, arguments, message):
    with pytest.raises(ConfigError, match=message):
        build_backbone(name, **arguments)


def test_frozen_stages_neither_train_nor_record_a_graph():
    backbone = build_backbone(SMALL, norm="batch", freeze_at=3).train()
    before = {k: v.clone() for k, v in backbone.state_dict().items()}
    c3, c4, c5 = backbone(torch.rand(2, 3, 64, 64))
    assert not c3.requires_grad  # stage 3 ends at C3
    assert c4.requires_grad
    (c4.sum() + c5.sum()).backward()
    frozen = ("body.conv1", "body.bn1", "body.layer1", "body.layer2")
    for name, parameter in backbone.named_parameters():
        assert (parameter.grad is None) == name.startswith(frozen), name
    moved = {k for k, v in backbone.state_dict().items() if not torch.equal(v, before[k])}
    assert moved
    assert not any(name.startswith(frozen) for name in moved)


def test_nothing_frozen_trains_everything():
    backbone = build_backbone(SMALL, norm="batch", freeze_at=0)
    sum(f.sum() for f in backbone(torch.rand(1, 3, 64, 64))).backward()
    assert all(p.grad is not None for p in backbone.parameters())


def test_without_gradients_no_stage_records_a_graph():
    with torch.no_grad():
        assert not any(f.requires_grad for f in build_backbone("tiny")(torch.rand(1, 3, 64, 64)))


def test_mobilenets_stages_end_where_the_stride_doubles():
    backbone = build_backbone("mobilenet_v2", norm="batch")
    x, sizes = torch.rand(1, 3, 64, 64), []
    for first in range(5):
        for layer in backbone._layers(first, first + 1):
            x = layer(x)
        sizes.append(64 // x.shape[-1])
    assert sizes == [2, 4, 8, 16, 32]


def test_frozen_batchnorm_has_no_parameters_and_live_has():
    assert not any("bn" in name for name, _ in meta(SMALL).named_parameters())
    assert any("bn" in name for name, _ in meta(SMALL, norm="batch").named_parameters())


def test_a_norm_alone_is_batchnorm_in_evaluation_mode():
    frozen, live = FrozenNorm(5), nn.BatchNorm2d(5).eval()
    for tensor in (live.weight, live.bias, live.running_mean):
        nn.init.normal_(tensor)
    nn.init.uniform_(live.running_var, 0.5, 2.0)
    frozen.load_state_dict({k: v for k, v in live.state_dict().items() if k != "num_batches_tracked"})
    x = torch.randn(2, 5, 3, 3)
    torch.testing.assert_close(frozen(x), live(x))


@pytest.mark.parametrize("name", [SMALL, "mobilenet_v2", "resnet50"])
def test_every_frozen_norm_is_taken_in_by_its_convolution_also_in_a_copy(name):
    backbone = copy.deepcopy(meta(name))
    norms = [m for m in backbone.modules() if isinstance(m, FrozenNorm)]
    carried = [m.norm[0] for m in backbone.modules() if isinstance(m, NormedConv2d)]
    assert norms
    assert all(norm.taken_in for norm in norms)
    assert {id(n) for n in norms} == {id(n) for n in carried}


def test_frozen_norms_let_gradients_through_to_the_weights():
    backbone = build_backbone(SMALL, freeze_at=0)
    backbone.body.get_submodule("layer4.1.bn2").weight.zero_()  # a scale of zero stops the gradient of its convolution
    sum(f.sum() for f in backbone(torch.rand(1, 3, 64, 64))).backward()
    gradients = {name: float(p.grad.abs().sum()) for name, p in backbone.named_parameters()}
    assert [name for name, total in gradients.items() if total == 0] == [
        "body.layer4.1.conv1.weight",
        "body.layer4.1.conv2.weight",
    ]


def test_tiny_trains_whatever_the_options_for_pretrained_networks_say():
    backbone = build_backbone("tiny", norm="frozen", freeze_at=2)
    assert all(p.requires_grad for p in backbone.parameters())
    assert any(isinstance(m, nn.BatchNorm2d) for m in backbone.modules())


@pytest.mark.parametrize("size", [(64, 64), (65, 97), (1, 3)])
def test_folded_mobilenet_pads_as_tensorflow_does(size):
    backbone = build_backbone("mobilenet_v2_tf")
    conv = backbone.body.get_submodule("features.0.0")
    x = torch.rand(1, 3, *size)
    totals = [max((-(-n // 2) - 1) * 2 + 3 - n, 0) for n in size]  # tf.nn.convolution, "SAME"
    (top, bottom), (left, right) = ((t // 2, t - t // 2) for t in totals)
    expected = F.conv2d(F.pad(x, (left, right, top, bottom)), conv.weight, conv.bias, stride=2)
    torch.testing.assert_close(conv(x), expected)


def test_every_strided_convolution_of_the_folded_network_pads_so():
    strided = [
        m for m in build_backbone("mobilenet_v2_tf").modules() if isinstance(m, nn.Conv2d) and m.stride == (2, 2)
    ]
    assert len(strided) == 5
    assert all(tuple(conv(torch.zeros(1, conv.in_channels, 8, 8)).shape[-2:]) == (4, 4) for conv in strided)
    assert {type(conv).__name__ for conv in strided} == {"SameConv2d"}


def test_folding_changes_nothing_between_two_strided_convolutions():
    # features.2 to features.6 with stride 1 everywhere would be equal; features.3 has no stride at all
    live = build_backbone("mobilenet_v2", norm="batch", freeze_at=0).eval()
    folded = build_backbone("mobilenet_v2_tf", freeze_at=0).eval()
    block, plain = live.body.get_submodule("features.3"), folded.body.get_submodule("features.3")
    state, keys = {}, []
    for name, module in block.named_modules():
        if isinstance(module, nn.Conv2d):
            keys.append((name, module))
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
            nn.init.normal_(module.bias)
            key, conv = keys[-1]
            scale = module.weight / (module.running_var + module.eps).sqrt()
            state[f"{key}.weight"] = conv.weight * scale.view(-1, 1, 1, 1)
            state[f"{key}.bias"] = module.bias - module.running_mean * scale
    plain.load_state_dict(state)
    x = torch.randn(1, 24, 10, 10)
    torch.testing.assert_close(plain(x), block(x), rtol=1e-4, atol=1e-4)


def folded_file(shared):
    return shared / "data/weights_mobilenetv2_imagenet/mobilenet_v2_1.0_224_folded_fp16.npz"


def test_a_folded_file_chooses_the_folded_network(shared):
    path = folded_file(shared)
    assert resolve_backbone("mobilenet_v2", path) == "mobilenet_v2_tf"
    assert resolve_backbone("mobilenet_v2_tf", path) == "mobilenet_v2_tf"
    backbone = build_backbone("mobilenet_v2", weights=path)
    assert backbone.pixel_mean == backbone.pixel_std == (0.5, 0.5, 0.5)


def test_a_file_with_batchnorm_does_not(tmp_path):
    _, state = torchvision_state("mobilenet_v2")
    torch.save(state, tmp_path / "w.pth")
    assert resolve_backbone("mobilenet_v2", tmp_path / "w.pth") == "mobilenet_v2"
    with pytest.raises(InputError, match="the backbone for it is mobilenet_v2"):
        resolve_backbone("mobilenet_v2_tf", tmp_path / "w.pth")


def test_a_name_alone_stays_as_it_is():
    assert [resolve_backbone(name) for name in BACKBONES] == list(BACKBONES)


def test_googles_folded_weights_recognise_a_vase(shared):
    path = folded_file(shared)
    backbone = build_backbone("mobilenet_v2", weights=path).eval()
    image = read_image(shared / "data/coco_permissive158/train2017/000000000030.jpg")
    image = to_unit(resize(image, (224, 224)))[None]
    weights = {
        k: torch.from_numpy(v).float() for k, v in np.load(path).items() if k.startswith(("features.18", "class"))
    }
    with torch.no_grad():
        c5 = backbone((image - 0.5) / 0.5)[2]
        pooled = F.relu6(F.conv2d(c5, weights["features.18.0.weight"], weights["features.18.0.bias"])).mean((2, 3))
        p = (pooled @ weights["classifier.1.weight"].T + weights["classifier.1.bias"]).softmax(1)[0]
    assert p.argmax() == 1 + 883  # 883 is "vase", after the background class
    assert p.max() > 0.5


def test_the_stride_moves_to_the_first_convolution_of_a_bottleneck():
    blocks = [meta("resnet50", stride_in_1x1=first).body["layer2"][0] for first in (False, True)]
    assert [(b.conv1.stride, b.conv2.stride) for b in blocks] == [((1, 1), (2, 2)), ((2, 2), (1, 1))]
    with pytest.raises(ConfigError, match="stride_in_1x1"):
        meta("mobilenet_v2", stride_in_1x1=True)


def test_the_epsilon_reaches_every_norm():
    for norm in ("frozen", "batch"):
        found = {m.eps for m in meta(SMALL, norm=norm, norm_eps=0.25).modules() if hasattr(m, "running_var")}
        assert found == {0.25}


def test_an_architecture_that_torchvision_does_not_offer_has_no_weights_to_download():
    with pytest.raises(InputError, match="resnext101_32x4d"):
        build_backbone("resnext101_32x4d", pretrained=True)
