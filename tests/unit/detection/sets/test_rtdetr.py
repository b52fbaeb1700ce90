"""RT-DETRv2 against transformers' own, built from a configuration with random weights and moved over."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from focalkit.config import DecoderConfig, ModelConfig, TrainConfig
from focalkit.detection import DetectionTarget, SetCriterion, build_criterion, build_detector, load_weights
from focalkit.detection.models.detr.attention import DeformableAttention
from focalkit.detection.models.detr.decoder import first_boxes
from focalkit.detection.models.detr.layers import RepVGG
from focalkit.detection.weights.layouts.rtdetr import AUTHORS, TRANSFORMERS, apart
from focalkit.errors import InputError

from .conftest import truths

SIZE = (96, 128)
DEPTHS = {"resnet18vd": (2, 2, 2, 2), "resnet34vd": (3, 4, 6, 3), "resnet50vd": (3, 4, 6, 3)}
TINY = ModelConfig(
    backbone="resnet18vd",
    freeze_at=0,
    fpn_channels=32,
    detector="rtdetrv2",
    decoder=DecoderConfig(layers=2, queries=20, expansion=0.5, feedforward=48, denoising=12),
)


@pytest.fixture(scope="module")
def build_peer():
    pytest.importorskip("transformers")
    from transformers import RTDetrV2Config, RTDetrV2ForObjectDetection
    from transformers.models.rt_detr.configuration_rt_detr_resnet import RTDetrResNetConfig

    def build(backbone="resnet18vd", expansion=0.5):
        bottleneck = backbone == "resnet50vd"
        sizes = [(4 if bottleneck else 1) * c for c in (64, 128, 256, 512)]
        resnet = RTDetrResNetConfig(
            embedding_size=64,
            hidden_sizes=sizes,
            depths=DEPTHS[backbone],
            layer_type="bottleneck" if bottleneck else "basic",
            out_indices=[2, 3, 4],
        )
        torch.manual_seed(0)
        model = RTDetrV2ForObjectDetection(
            RTDetrV2Config(
                backbone_config=resnet,
                encoder_in_channels=sizes[1:],
                d_model=32,
                encoder_hidden_dim=32,
                decoder_in_channels=[32] * 3,
                encoder_ffn_dim=48,
                decoder_ffn_dim=48,
                decoder_layers=2,
                num_queries=20,
                num_labels=4,
                hidden_expansion=expansion,
                num_denoising=12,
            )
        )
        with torch.no_grad():
            for module in model.modules():
                for name, value in [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]:
                    if "norm" in type(module).__name__.lower() and value.is_floating_point():
                        value.copy_(torch.rand_like(value) + (0.5 if name in ("weight", "running_var") else -0.5))
                    elif value.is_floating_point() and not value.any():  # what begins at zero would hide differences
                        value.copy_(torch.randn_like(value) * 0.1)
        return model

    return build


def moved(peer):
    model = load_weights({name: t.clone() for name, t in peer.state_dict().items()})
    model.head.queries = 20
    return model


def flat(level):
    return level.squeeze(-1).transpose(1, 2)


@pytest.mark.parametrize(("backbone", "expansion"), [("resnet18vd", 0.5), ("resnet34vd", 0.5), ("resnet50vd", 1.0)])
def test_its_logits_and_boxes_are_transformers_own(build_peer, backbone, expansion):
    peer = build_peer(backbone, expansion).eval()
    model = moved(peer)
    assert (model.card.config.backbone, model.card.config.decoder.expansion) == (backbone, expansion)
    images = torch.rand(2, 3, *SIZE)
    with torch.no_grad():
        expected, found = peer(images), model(images)
    assert expected.logits.std() > 0.1
    assert expected.pred_boxes.std() > 0.1
    torch.testing.assert_close(flat(found.logits[0]), expected.logits, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(flat(found.deltas[0]), expected.pred_boxes, atol=1e-5, rtol=1e-5)


def rows(outputs, part):
    return replace(outputs, logits=(outputs.logits[0][part],), deltas=(outputs.deltas[0][part],), earlier=None)


@pytest.mark.parametrize("counts", [(3, 3), (4, 0), (1, 2)])
def test_each_term_of_each_layer_in_training_is_transformers_own_with_the_same_noise(build_peer, counts):
    peer = build_peer().train()
    model = moved(peer).train()
    model.head.denoising = replace(model.head.denoising, queries=12)
    images = torch.rand(2, 3, *SIZE)
    ours, theirs = truths(counts, size=SIZE)
    torch.manual_seed(5)
    expected = peer(images, labels=theirs)
    torch.manual_seed(5)
    criterion, outputs = build_criterion(TrainConfig(model=model.card.config)), model(images, ours)
    found, compared = criterion(outputs, ours), {}
    for term, other in (("classification", "loss_vfl"), ("box", "loss_bbox"), ("giou", "loss_giou")):
        alone = SetCriterion(criterion.matcher, {term: criterion.terms[term]})
        earlier, mended = replace(outputs.earlier, denoising=None), outputs.denoising.outputs
        first, second = slice(0, 2), slice(2, 4)
        plain = {"": rows(outputs, first), "_aux_0": rows(earlier, first), "_aux_1": rows(earlier, second)}
        for suffix, layer in plain.items():
            compared[other + suffix] = alone(replace(layer, denoising=None), ours)[term]
        for suffix, part in (("_dn_1", first), ("_dn_0", second)):
            noised = replace(outputs.denoising, outputs=rows(mended, part))
            compared[other + suffix] = alone(replace(plain[""], denoising=noised), ours)["denoising"]
        summed = sum(compared[other + suffix] for suffix in plain)
        torch.testing.assert_close(found[term], summed, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(compared, expected.loss_dict, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(sum(found.values()), expected.loss, atol=len(compared) * 1e-5, rtol=1e-5)


def test_deformable_attention_is_transformers_own(build_peer):
    module = build_peer().model.decoder.layers[0].encoder_attn
    ours = DeformableAttention(32, heads=8, levels=3, points=4)
    ours.load_state_dict({n: t for n, t in module.state_dict().items() if n != "n_points_scale"})
    shapes = [(6, 5), (3, 4), (2, 1)]
    queries, memory = torch.randn(2, 9, 32), torch.randn(2, 30 + 12 + 2, 32)
    boxes = torch.rand(2, 9, 4)
    expected, _ = module(
        queries,
        encoder_hidden_states=memory,
        reference_points=boxes[:, :, None],
        spatial_shapes=torch.tensor(shapes),
        spatial_shapes_list=shapes,
    )
    torch.testing.assert_close(ours(queries, boxes, memory, shapes), expected, atol=1e-6, rtol=1e-5)


def test_attention_to_the_middle_of_a_cell_is_its_value():
    attention = DeformableAttention(8, heads=2, levels=1, points=1, reach=0.0)
    for layer in (attention.value_proj, attention.output_proj):
        nn.init.eye_(layer.weight)
    memory = torch.randn(1, 12, 8)  # 3 rows of 4 cells
    box = torch.tensor([[[2.5 / 4, 1.5 / 3, 0.2, 0.2]]])
    torch.testing.assert_close(attention(torch.randn(1, 1, 8), box, memory, [(3, 4)])[0, 0], memory[0, 1 * 4 + 2])


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(1)
    found = build_detector(TINY, 4).eval()
    with torch.no_grad():
        for output in found.head.box_output:
            nn.init.normal_(output.layers[-1].weight, std=0.5)
    return found


def renamed(model, layout):
    return {layout.theirs(n) or n: t for n, t in model.state_dict().items()}


@pytest.mark.parametrize("layout", [AUTHORS, TRANSFORMERS])
def test_a_state_dict_of_each_library_comes_back_as_it_was(model, layout):
    theirs = renamed(model, layout)
    assert not set(theirs) & set(model.state_dict())
    if layout is TRANSFORMERS:
        theirs = apart(theirs)
        theirs |= {n.removeprefix("model.decoder."): t for n, t in theirs.items() if "class_embed." in n}
    else:
        theirs |= {"decoder.anchors": torch.zeros(1, 5, 4), "decoder.valid_mask": torch.zeros(1, 5, 1)}
        theirs = {"model": {"other": torch.zeros(1)}, "ema": {"module": theirs, "updates": 7}}
    again = load_weights(theirs)
    again.head.queries = 20
    images = torch.rand(1, 3, *SIZE)
    for one, other in zip(model(images).deltas, again(images).deltas, strict=True):
        assert torch.equal(one, other)
    assert again.card.config.decoder == replace(TINY.decoder, queries=300, denoising=100)
    assert (again.card.min_size, again.card.config.numerics.resize) == (640, "square")


def test_a_state_dict_of_its_authors_r50_comes_back_as_it_was():
    wide = build_detector(replace(TINY, backbone="resnet50vd", decoder=replace(TINY.decoder, expansion=1.0)), 4)
    theirs = renamed(wide, AUTHORS)
    again = load_weights(dict(theirs))
    assert (again.card.config.backbone, again.card.config.decoder.expansion) == ("resnet50vd", 1.0)
    back = renamed(again, AUTHORS)
    assert back.keys() == theirs.keys()
    assert all(torch.equal(back[n], t) for n, t in theirs.items() if "num_batches" not in n)


def test_earlier_names_of_both_libraries_are_read(model):
    theirs = renamed(model, AUTHORS)
    for n in range(3):
        for p, number in (("conv", 0), ("norm", 1)):
            start = f"encoder.input_proj.{n}.{p}."
            theirs |= {k.replace(f".{p}.", f".{number}."): theirs.pop(k) for k in list(theirs) if k.startswith(start)}
    for part, number in (("proj", 0), ("norm", 1)):
        for p in ("weight", "bias"):
            theirs[f"decoder.enc_output.{number}.{p}"] = theirs.pop(f"decoder.enc_output.{part}.{p}")
    assert len(load_weights(theirs).state_dict()) == len(model.state_dict())
    theirs = apart(renamed(model, TRANSFORMERS))
    theirs = {
        n.replace("o_proj", "out_proj").replace(".mlp.", ".").replace("encoder.aifi.", "encoder.encoder."): t
        for n, t in theirs.items()
    }
    assert len(load_weights(theirs).state_dict()) == len(model.state_dict())


def test_weights_that_do_not_fit_are_named_in_the_files_own_words(model):
    theirs = renamed(model, AUTHORS)
    theirs["encoder.lateral_conv.0.norm.bias"] = theirs.pop("encoder.lateral_convs.0.norm.bias")
    theirs["decoder.dec_score_head.1.weight"] = torch.zeros(5, 32)
    with pytest.raises(InputError) as caught:
        load_weights(theirs)
    text = str(caught.value)
    assert "decoder.dec_score_head.1.weight: shape (5, 32), expected (4, 32)" in text
    assert "encoder.lateral_convs.0.norm.bias: missing (nearest: encoder.lateral_conv.0.norm.bias)" in text
    theirs = renamed(model, AUTHORS)
    del theirs["decoder.enc_score_head.weight"]
    with pytest.raises(InputError, match=r"no RT-DETR of RT-DETR: it has no decoder\.enc_score_head\.weight"):
        load_weights(theirs)
    with pytest.raises(InputError, match="coco80, style and numerics are for RetinaNets"):
        load_weights(renamed(model, AUTHORS), coco80=True)


def test_in_an_image_of_fewer_cells_than_queries_the_rest_say_nothing(model):
    wide = build_detector(replace(TINY, decoder=replace(TINY.decoder, queries=300)), 4).eval()
    out = wide(torch.rand(1, 3, 64, 64))
    cells = 64 + 16 + 4
    assert (flat(out.logits[0])[0, :cells] > -100).all()
    assert (flat(out.logits[0])[0, cells:].sigmoid() == 0).all()
    everything = replace(wide.postprocess, score_threshold=1e-9, max_detections=2000)
    assert len(everything(out, [(64, 64)])[0]) <= 4 * cells
    assert torch.isfinite(sum(build_criterion(TrainConfig(model=TINY))(out, truths([3])[0]).values()))


def test_cells_whose_first_box_touches_the_edge_do_not_propose():
    logits, valid = first_boxes([(200, 2)])
    assert not valid[:2].any()  # the middle of row 0 is at 1/400
    assert valid[10]
    torch.testing.assert_close(logits[10].sigmoid(), torch.tensor([0.25, 5.5 / 200, 0.05, 0.05]))
    assert (logits[0].sigmoid() == 1).all()


def test_a_layer_teaches_the_one_before_it(model):
    """Look forward twice: the loss of layer 2's boxes reaches the box output of layer 1, and stops there."""
    images = torch.rand(1, 3, *SIZE)
    model.zero_grad()
    model(images).deltas[0].sum().backward()
    assert model.head.box_output[1].layers[-1].bias.grad.abs().sum() > 0
    proposal = model.head.box_output[0].layers[-1].bias.grad
    assert proposal is None or not proposal.any()
    model.zero_grad()


def test_denoising_is_used_whatever_is_in_the_batch(model):
    """Every process of a training must use the same weights, and log the same losses."""
    criterion = build_criterion(TrainConfig(model=TINY))
    nothing = [DetectionTarget(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))] * 2
    images = torch.rand(2, 3, *SIZE)
    losses = criterion(model(images, nothing), nothing)
    assert set(losses) == {"classification", "box", "giou", "denoising"}
    assert float(losses["denoising"].detach()) == 0
    sum(losses.values()).backward()
    unused = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert unused == []
    model.zero_grad()


def test_a_repvgg_block_is_one_convolution_in_evaluation():
    block = RepVGG(6).eval()
    for norm in (block.conv1.norm, block.conv2.norm):
        for name, value in norm.state_dict().items():
            if value.is_floating_point():
                value.copy_(torch.rand_like(value) + (0.5 if "var" in name else -0.5))
    x = torch.randn(2, 6, 5, 7)
    merged = block.merged()
    assert [type(m).__name__ for m in merged] == ["FastConv2d", "SiLU"]
    torch.testing.assert_close(merged(x), block(x), atol=1e-5, rtol=1e-5)
