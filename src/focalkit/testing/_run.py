"""The table of properties, and running them on one loss."""

import copy
from collections.abc import Callable, Sequence

import torch
from torch import Generator, nn

from .._config_io import nearest
from . import _properties as check
from ._cases import Case, Sample, Shape, case_of

PROPERTIES: dict[str, Callable[[Case, Sample, Shape, Generator], None]] = {
    "reductions agree": check.check_reductions,
    "a weight multiplies": check.check_weight,
    "a weight never enlarges": check.check_weight_never_enlarges,
    "zero weight is absence": check.check_zero_weight_is_absence,
    "ignored is absence": check.check_ignored_is_absence,
    "empty input": check.check_empty,
    "permutation of the batch": check.check_permutation,
    "elementwise is true": check.check_parts,
    "any number of axes": check.check_axes,
    "one class": check.check_one_class,
    "low precision equals float64": check.check_low_precision,
    "autocast changes nothing": check.check_autocast,
    "no value is read": check.check_no_value_is_read,
    "gradcheck and gradgradcheck": check.check_gradients,
    "forward mode": check.check_forward_mode,
    "activation checkpointing": check.check_checkpoint,
    "inputs are kept": check.check_inputs_are_kept,
    "module equals function": check.check_module_is_function,
    "pickle, deepcopy, state_dict, spec": check.check_round_trips,
    "state moves in training only": check.check_state,
    "fullgraph compile": check.check_compile,
    "vmap and grad": check.check_vmap,
    "extreme inputs": check.check_extremes,
    "bad arguments raise": check.check_bad_arguments,
}


def check_loss(
    loss: str | nn.Module,
    *,
    sample: Sample | None = None,
    shape: Shape = (3, 4, 2),
    seed: int = 0,
    properties: Sequence[str] | None = None,
) -> list[str]:
    """Runs the conformance checks on one loss.

    Args:
        loss: A catalog name or spec, or a module called as `loss(first, second, *, weight=None, normalizer=None)` with
            an attribute `reduction`.
        sample: For a module: `sample((b, k, s), rng)` draws a float64 first argument and a second argument, whose rows
            are along axis 0.
        shape: Batch, classes and further elements of the inputs.
        seed: Of the random inputs.
        properties: Names out of `PROPERTIES`; `None` runs all. A loss with other conventions (no `weight`, a mean that
            divides by something else) is checked with those that it claims.

    Returns:
        One line per check that was run.

    Raises:
        AssertionError: A property does not hold; the message names loss, property and difference.
        TypeError, ValueError: A loss that is neither text nor a module, a module without `sample`, or a property that
            there is not.

    Example:
        >>> check_loss("focal", properties=["reductions agree"])
        ['focal: reductions agree', 'focal: reductions agree']
    """
    for name in properties or ():
        if name not in PROPERTIES:
            raise ValueError(f"there is no property {name!r}{nearest(name, list(PROPERTIES))}")
    if isinstance(loss, str):
        case = case_of(loss)
    elif not isinstance(loss, nn.Module):
        raise TypeError(
            f"check_loss takes a name of the catalog or a module, got {loss!r}; put a function into a module whose "
            "forward(logits, targets, *, weight=None, normalizer=None) calls it with reduction=self.reduction"
        )
    else:
        if sample is None:
            raise ValueError("check_loss of a module needs sample=lambda shape, rng: (first, second)")
        case = Case(type(loss).__name__, _copies_of(loss), (sample,), has_ignore=hasattr(loss, "ignore_index"))
    done = []
    for name in PROPERTIES if properties is None else properties:
        for draw in case.samples:
            try:
                PROPERTIES[name](case, draw, shape, torch.Generator().manual_seed(seed))
            except Exception as error:
                raise AssertionError(f"{case.name}, {name}: {type(error).__name__}: {error}") from error
            done.append(f"{case.name}: {name}")
    return done


def _copies_of(loss: nn.Module) -> Callable[..., nn.Module]:
    def make(shape: Shape, **arguments: object) -> nn.Module:
        new = copy.deepcopy(loss)
        for key, value in arguments.items():
            if key == "reduction" and value not in ("none", "sum", "mean"):
                raise ValueError('reduction must be "none", "sum" or "mean"')
            setattr(new, key, value)
        return new

    return make
