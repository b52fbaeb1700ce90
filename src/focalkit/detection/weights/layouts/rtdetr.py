"""Files of RT-DETR and RT-DETRv2: those of their authors' repository, and those of transformers.

Facts from the sources of lyuwenyu/RT-DETR (`rtdetrv2_pytorch/src`, Apache-2.0) and of transformers 5.24
(`models/rt_detr_v2`, Apache-2.0); what the latter called otherwise before version 5 is in `older`. transformers keeps
queries, keys and values apart, which `fused` puts together.
"""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from focalkit.detection.weights.layouts.layout import Layout

DROPPED = re.compile(
    r".*num_batches_tracked|.*num_points_scale|.*n_points_scale|decoder\.(anchors|valid_mask)|(model\.)?(anchors|valid_mask)"
    r"|(.*\.)?(up|reg_scale)|.*\.project"
)
"""Entries that are no weights: counters, and constants that follow from the structure."""

_FUSION = (
    ("lateral_convs", "lateral"),
    ("fpn_blocks", "top_down"),
    ("downsample_convs", "down"),
    ("pan_blocks", "bottom_up"),
)

AUTHORS = Layout(
    name="rtdetr",
    library="RT-DETR",
    mark=re.compile(r"decoder\.dec_score_head\..*"),
    table=(
        ("backbone.{rest}", "backbone.body.{rest}"),
        ("encoder.input_proj.{n}.conv.{p}", "neck.input_proj.{n}.conv.{p}"),
        ("encoder.input_proj.{n}.norm.{p}", "neck.input_proj.{n}.norm.{p}"),
        ("encoder.encoder.0.layers.0.{rest}", "neck.attention.{rest}"),
        *((f"encoder.{theirs}.{{rest}}", f"neck.{ours}.{{rest}}") for theirs, ours in _FUSION),
        ("decoder.input_proj.{rest}", "head.input_proj.{rest}"),
        ("decoder.decoder.layers.{rest}", "head.layers.{rest}"),
        ("decoder.denoising_class_embed.{p}", "head.label_embedding.{p}"),
        ("decoder.query_pos_head.{rest}", "head.query_position.{rest}"),
        ("decoder.enc_output.proj.{p}", "head.proposal.0.{p}"),
        ("decoder.enc_output.norm.{p}", "head.proposal.1.{p}"),
        ("decoder.enc_score_head.{p}", "head.class_output.0.{p}"),
        ("decoder.enc_bbox_head.{rest}", "head.box_output.0.{rest}"),
        ("decoder.dec_score_head.{n}.{p}", "head.class_output.{n+1}.{p}"),
        ("decoder.dec_bbox_head.{n}.{rest}", "head.box_output.{n+1}.{rest}"),
    ),
    older=(  # RT-DETR, before v2
        ("encoder.input_proj.{n}.0.{p}", "neck.input_proj.{n}.conv.{p}"),
        ("encoder.input_proj.{n}.1.{p}", "neck.input_proj.{n}.norm.{p}"),
        ("decoder.enc_output.{n}.{p}", "head.proposal.{n}.{p}"),
    ),
)

_BODY = "model.backbone.model.encoder.stages.{n}.layers.{b}"
_BLOCK = "backbone.body.res_layers.{n}.blocks.{b}"
_STEM = "model.backbone.model.embedder.embedder.{n}"


def _conv(theirs: str, ours: str) -> tuple[tuple[str, str], ...]:
    """A convolution and its norm, in the words of transformers' backbones."""
    return (
        (f"{theirs}.convolution.{{p}}", f"{ours}.conv.{{p}}"),
        (f"{theirs}.normalization.{{p}}", f"{ours}.norm.{{p}}"),
    )


def _pair(theirs: str, ours: str) -> tuple[tuple[str, str], ...]:
    """A convolution and its norm in a row."""
    return (
        (f"{theirs}.{{n}}.0.{{p}}", f"{ours}.{{n}}.conv.{{p}}"),
        (f"{theirs}.{{n}}.1.{{p}}", f"{ours}.{{n}}.norm.{{p}}"),
    )


def _layer(theirs: str, ours: str, attention: str, network: str) -> tuple[tuple[str, str], ...]:
    """Self-attention, its norm, and the network behind it."""
    return (
        (f"{theirs}.self_attn.in_proj_{{p}}", f"{ours}.self_attn.in_proj_{{p}}"),
        (f"{theirs}.self_attn.{attention}.{{p}}", f"{ours}.self_attn.out_proj.{{p}}"),
        (f"{theirs}.self_attn_layer_norm.{{p}}", f"{ours}.norm1.{{p}}"),
        (f"{theirs}.{network}fc1.{{p}}", f"{ours}.linear1.{{p}}"),
        (f"{theirs}.{network}fc2.{{p}}", f"{ours}.linear2.{{p}}"),
    )


_ENCODER, _DECODER = ("model.encoder.{}.0.layers.0", "neck.attention"), ("model.decoder.layers.{n}", "head.layers.{n}")

TRANSFORMERS = Layout(
    name="transformers",
    library="transformers",
    mark=re.compile(r"model\.decoder\.class_embed\..*|class_embed\.\d+\..*"),
    table=(
        (f"{_STEM}.convolution.{{p}}", "backbone.body.conv1.conv1_{n+1}.conv.{p}"),
        (f"{_STEM}.normalization.{{p}}", "backbone.body.conv1.conv1_{n+1}.norm.{p}"),
        *_conv(f"{_BODY}.layer.0", f"{_BLOCK}.branch2a"),
        *_conv(f"{_BODY}.layer.1", f"{_BLOCK}.branch2b"),
        *_conv(f"{_BODY}.layer.2", f"{_BLOCK}.branch2c"),
        *_conv(f"{_BODY}.shortcut.1", f"{_BLOCK}.short.conv"),
        *_conv(f"{_BODY}.shortcut", f"{_BLOCK}.short"),
        *_pair("model.encoder_input_proj", "neck.input_proj"),
        *_layer(_ENCODER[0].format("aifi"), _ENCODER[1], "o_proj", "mlp."),
        (f"{_ENCODER[0].format('aifi')}.final_layer_norm.{{p}}", "neck.attention.norm2.{p}"),
        *((f"model.encoder.{theirs}.{{rest}}", f"neck.{ours}.{{rest}}") for theirs, ours in _FUSION),
        *_pair("model.decoder_input_proj", "head.input_proj"),
        *_layer(*_DECODER, "o_proj", "mlp."),
        ("model.decoder.layers.{n}.encoder_attn.{rest}", "head.layers.{n}.cross_attn.{rest}"),
        ("model.decoder.layers.{n}.encoder_attn_layer_norm.{p}", "head.layers.{n}.norm2.{p}"),
        ("model.decoder.layers.{n}.final_layer_norm.{p}", "head.layers.{n}.norm3.{p}"),
        ("model.denoising_class_embed.{p}", "head.label_embedding.{p}"),
        ("model.decoder.query_pos_head.{rest}", "head.query_position.{rest}"),
        ("model.enc_output.{n}.{p}", "head.proposal.{n}.{p}"),
        ("model.enc_score_head.{p}", "head.class_output.0.{p}"),
        ("model.enc_bbox_head.{rest}", "head.box_output.0.{rest}"),
        ("model.decoder.class_embed.{n}.{p}", "head.class_output.{n+1}.{p}"),
        ("model.decoder.bbox_embed.{n}.{rest}", "head.box_output.{n+1}.{rest}"),
    ),
    older=(  # and the second names of the last layers' outputs
        ("class_embed.{n}.{p}", "head.class_output.{n+1}.{p}"),
        ("bbox_embed.{n}.{rest}", "head.box_output.{n+1}.{rest}"),
        *_layer(_ENCODER[0].format("encoder"), _ENCODER[1], "out_proj", ""),
        (f"{_ENCODER[0].format('encoder')}.final_layer_norm.{{p}}", "neck.attention.norm2.{p}"),
        *_layer(*_DECODER, "out_proj", ""),
    ),
)

_APART = re.compile(r"(.*self_attn\.)q_proj\.(weight|bias)")


def fused(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of queries, keys and values as one, where they are apart."""
    found = dict(tensors)
    for name in tensors:
        if match := _APART.fullmatch(name):
            parts = [f"{match[1]}{part}_proj.{match[2]}" for part in "qkv"]
            if all(part in found for part in parts):
                found[f"{match[1]}in_proj_{match[2]}"] = torch.cat([found.pop(part) for part in parts])
    return found


def apart(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of `fused`."""
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        start, fusion, kind = name.partition("in_proj_")
        if not fusion:
            found[name] = tensor
        else:
            thirds = zip("qkv", tensor.chunk(3), strict=True)
            found |= {f"{start}{part}_proj.{kind}": third.contiguous() for part, third in thirds}
    return found
