"""A loss as text: "focal(gamma=0.5)" to a module and back; "my_pkg.mod:MyLoss(gamma=1)" for losses of your own.

Arguments are Python literals. Nothing is evaluated; a name with a colon imports the module it names.
"""

import ast
import importlib
import inspect
from collections.abc import Iterable
from typing import Any, Literal

from torch import Tensor, nn

from ..errors import ConfigError
from ._catalog import LOSSES
from ._checks import is_number, nearest

_LITERALS = (str, int, float, bool, type(None), list, tuple)


def parse(spec: str) -> tuple[str, dict[str, Any]]:
    """Splits "name(key=literal, ...)" into the name and its arguments.

    Raises:
        ConfigError: The text has another form.

    Example:
        >>> parse("focal(gamma=0.5, alpha=None)")
        ('focal', {'gamma': 0.5, 'alpha': None})
    """
    name, bracket, _ = spec.strip().partition("(")
    call = spec.strip()[len(name) :] if bracket else "()"
    try:
        tree = ast.parse("f" + call, mode="eval").body
        if not isinstance(tree, ast.Call) or not isinstance(tree.func, ast.Name) or tree.args:
            raise ValueError("arguments have names")
        arguments = {str(k.arg): ast.literal_eval(k.value) for k in tree.keywords if k.arg}
        if len(arguments) != len(tree.keywords) or not name.strip():
            raise ValueError("a name and named arguments are needed")
    except (SyntaxError, ValueError, TypeError) as error:
        raise ConfigError(
            f"cannot read the loss {spec!r:.200}: expected a name with named literal arguments, like "
            f'"focal(gamma=0.5, alpha=0.25)" or "my_pkg.mod:MyLoss(gamma=1)" ({error})'
        ) from error
    return name.strip(), arguments


def build(spec: str, **arguments: Any) -> nn.Module:
    """Builds the module that `spec` names.

    Args:
        spec: "focal(gamma=0.5)", a catalog name alone, or "my_pkg.mod:MyLoss(gamma=1)".
        arguments: Further arguments, such as class_dim=-1 or reduction="sum"; the text wins over them.

    Raises:
        ConfigError: Unknown name or argument (the message names the nearest), or one that the constructor refuses.
            A value out of its range is refused by the first call, as a ValueError.

    Example:
        >>> build("focal(gamma=0.5)", reduction="sum")
        SigmoidFocalLoss(gamma=0.5, reduction='sum')
    """
    name, given = parse(spec)
    factory = _factory(name, spec)
    _named_arguments(name, factory, given | arguments)
    try:
        return factory(**(arguments | given))
    except (TypeError, ValueError) as error:
        raise ConfigError(f"cannot build the loss {spec!r}: {error}") from error


def argument_names(spec: str) -> tuple[str, ...]:
    """The arguments that the loss named by `spec` takes.

    Raises:
        ConfigError: As `build`, for the name and the names of the arguments in the text.

    Example:
        >>> argument_names("eqlv2(gamma=12)")[:3]
        ('num_classes', 'gamma', 'mu')
    """
    name, given = parse(spec)
    return _named_arguments(name, _factory(name, spec), given)


def focal_arguments(spec: str) -> tuple[float, Any, Literal["sigmoid", "softmax"]]:
    """gamma, alpha and the kind of a focal loss: what `calibration.focal_to_posterior` takes to undo it.

    Raises:
        ConfigError: Another loss, or a focal loss with arguments of which no inverse is known.

    Example:
        >>> focal_arguments("focal(gamma=1.5)")
        (1.5, 0.25, 'sigmoid')
    """
    name, given = ("", {}) if spec == "default" or ":" in spec else parse(spec)
    if name not in ("focal", "softmax_focal"):
        raise ConfigError(f"it was trained with the loss {spec}; the inverse of focal loss with one gamma is known")
    known = inspect.signature(LOSSES[name].module).parameters
    arguments = {key: parameter.default for key, parameter in known.items()} | given
    if arguments.get("gamma_neg") is not None or not is_number(arguments["gamma"]):
        raise ConfigError(f"it was trained with the loss {spec}; the inverse of focal loss with one gamma is known")
    if more := sorted({"pos_weight", "label_smoothing", "class_weight"} & set(given)):
        raise ConfigError(f"it was trained with the loss {spec}; the inverse with {more[0]} is not known")
    return float(arguments["gamma"]), arguments["alpha"], "sigmoid" if name == "focal" else "softmax"


def _factory(name: str, spec: str) -> Any:
    if ":" in name:
        return _imported(name, spec)
    if name not in LOSSES:
        raise ConfigError(f"unknown loss {name!r}{nearest(name, LOSSES)}; known: {', '.join(sorted(LOSSES))}")
    return LOSSES[name].module


def _named_arguments(name: str, factory: Any, given: Iterable[str]) -> tuple[str, ...]:
    """The names in the signature; an error where `given` has another and there is no **kwargs."""
    known = list(inspect.signature(factory).parameters.values())
    names = [p.name for p in known]
    if not any(p.kind is p.VAR_KEYWORD for p in known):
        for key in given:
            if key not in names:
                raise ConfigError(f"{name} has no argument {key!r}{nearest(key, names)}; it takes {', '.join(names)}")
    return tuple(names)


def _imported(name: str, spec: str) -> Any:
    where, _, attribute = name.partition(":")
    try:
        return getattr(importlib.import_module(where), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(
            f"cannot import the loss {spec!r}: {error}; the form is my_pkg.mod:MyLoss(gamma=1)"
        ) from error


def spec_of(loss: nn.Module) -> str:
    """The text that builds `loss` again: the catalog name with the arguments that differ from their defaults.

    Raises:
        ConfigError: Not a loss of the catalog, or one with an argument that has no literal, such as a generator.

    Example:
        >>> spec_of(build("focal(gamma=0.5)"))
        'focal(gamma=0.5)'
    """
    line = next((line for line in LOSSES.values() if type(loss) is line.module), None)
    if line is None:
        raise ConfigError(
            f"{type(loss).__name__} is not in the catalog; write its spec as my_pkg.mod:{type(loss).__name__}(...)"
        )
    shown = []
    for key, parameter in inspect.signature(line.module).parameters.items():
        value = getattr(loss, key)
        if isinstance(value, Tensor):  # float32 keeps seven digits of what was written
            numbers = [float(f"{v:.7g}") for v in value.flatten().tolist()]
            value = numbers if value.ndim else numbers[0]
        elif not isinstance(value, _LITERALS):
            raise ConfigError(
                f"{type(loss).__name__} has {key}={value!r}, which text cannot hold; "
                f"leave it out of the loss and give it to the call, or build the loss in Python"
            )
        if value != parameter.default:
            shown.append(f"{key}={value!r}")
    return f"{line.name}({', '.join(shown)})" if shown else line.name
