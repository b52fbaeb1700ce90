"""Which methods were asked for: names, "focal(gamma=1)", losses of the catalog, Python files with rows of one's own."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from focalkit._config_io import nearest
from focalkit._modules import run_file
from focalkit.compare.methods import ALL, DENSE, METHODS, QUALITIES, Method
from focalkit.errors import ConfigError

PARTS = ("loss", "class_weight", "sampler", "augment", "schedule", "adjust")
"""Fields of a method that are texts with arguments."""
TARGETS = {"classes": ALL, "labels": ALL, "binary": DENSE, "quality": QUALITIES}
"""Where a loss of the catalog makes sense, by its targets."""


def resolve(asked: Sequence[str | Method], task: str) -> tuple[Method, ...]:
    """The methods, each name once, in the order asked for.

    Raises:
        ConfigError: An unknown method (the nearest is named), one that the task's data do not fit, one that undoes
            another focal loss than it trains with, or two of one name.
    """
    methods = [method for word in asked for method in _of(word)]
    for method in methods:
        _check_inverse(method)
        if not method.fits(task):
            fitting = [name for name, row in METHODS.items() if row.fits(task)]
            raise ConfigError(
                f"the method {method.name!r} does not fit the task {task!r}; these do: {', '.join(fitting)}"
            )
    folders: dict[str, Method] = {}
    for method in methods:
        other = folders.setdefault(folder_name(method.name), method)
        if other != method:
            raise ConfigError(f"two methods share the name {method.name!r}; give one of them another")
    return tuple(folders.values())


def with_values(method: Method, values: Mapping[str, Any]) -> Method:
    """The method with values for names of a search space: "loss.gamma" goes into the loss, "lr" into the settings.

    Example:
        >>> with_values(METHODS["focal"], {"loss.gamma": 1.0, "lr": 0.01}).loss
        'focal(alpha=None, gamma=1.0)'
    """
    for key, value in values.items():
        part, dot, argument = key.partition(".")
        if dot and part in PARTS:
            method = replace(method, **{part: set_argument(getattr(method, part) or "", argument, value)})
            undone = part == "loss" and (method.adjust or "").startswith("focal_posterior")
            if undone and argument in ("gamma", "alpha"):  # what is undone is what was done
                method = replace(method, adjust=set_argument(method.adjust or "", argument, value))
        else:
            method = replace(method, settings={**method.settings, key: value})
    return method


def set_argument(spec: str, argument: str, value: object) -> str:
    """The text with one argument set.

    Example:
        >>> set_argument("focal(gamma=2.0)", "alpha", 0.5)
        'focal(gamma=2.0, alpha=0.5)'
    """
    from focalkit.losses import parse

    name, arguments = parse(spec)
    return f"{name}({', '.join(f'{k}={v!r}' for k, v in {**arguments, argument: value}.items())})"


def folder_name(name: str) -> str:
    """A method's name as the name of a folder."""
    return re.sub(r"[^A-Za-z0-9._()=,+-]", "_", name.replace(" ", ""))


def _check_inverse(method: Method) -> None:
    """Refuse a "focal_posterior" that is not the inverse of what the method trains with."""
    from focalkit.losses import focal_arguments, parse

    adjust, weights = method.adjust or "", method.class_weight
    if not adjust.startswith("focal_posterior"):
        return
    if weights is not None:
        raise ConfigError(
            f"the method {method.name!r} weighs classes ({weights}) and is adjusted by {adjust}: the inverse of focal "
            "loss with class weights is not known; leave one of them out"
        )
    try:
        gamma, alpha, _ = focal_arguments(method.loss)
    except ConfigError as error:
        raise ConfigError(f"the method {method.name!r} is adjusted by {adjust}, but {error}") from error
    undone = parse(adjust)[1]
    if (undone.get("gamma", 2.0), undone.get("alpha")) != (gamma, alpha):
        raise ConfigError(
            f"the method {method.name!r} trains with {method.loss} and is adjusted by {adjust}: expected "
            f"focal_posterior(gamma={gamma}, alpha={alpha}), which undoes that"
        )


def _of(word: str | Method) -> Iterable[Method]:
    if isinstance(word, Method):
        return [word]
    if word in METHODS:
        return [METHODS[word]]
    if word.endswith(".py"):
        return _of_file(Path(word))
    return [_of_call(word)]


def _of_call(word: str) -> Method:
    from focalkit.losses import LOSSES, argument_names, parse

    name, arguments = parse(word)
    if name not in METHODS:
        if name not in LOSSES and ":" not in name:
            hint = nearest(name, [*METHODS, *(n for n, line in LOSSES.items() if line.targets in TARGETS)])
            hint = hint if "did you mean" in hint else "; `focalkit compare DATA --list` shows those for your data"
            raise ConfigError(f"there is no method {name!r}{hint}")
        argument_names(word)
        if name not in LOSSES:
            return Method(word, loss=word, tasks=None, summary="a loss of your own")
        if (targets := LOSSES[name].targets) not in TARGETS:
            raise ConfigError(f"the loss {name!r} takes {targets}, not classes; `focalkit losses` says which do")
        return Method(word, loss=word, tasks=TARGETS[targets], summary="a loss of the catalog")
    method = METHODS[name]
    places = {key.partition(".")[2]: key for key in method.space}
    of_loss = argument_names(method.loss) if method.loss != "default" else argument_names("ce")
    for key, value in arguments.items():
        if key not in places and key not in (*of_loss, "lr", "weight_decay"):
            known = sorted({*places, "lr", "weight_decay", *(of_loss if method.loss != "default" else ())})
            raise ConfigError(f"the method {name!r} has no argument {key!r}{nearest(key, known)}")
        place = places.get(key, key if key in ("lr", "weight_decay") else f"loss.{key}")
        if place.startswith("loss.") and method.loss == "default":
            method = replace(method, loss="ce")
        method = with_values(method, {place: value})
    return replace(method, name=word.replace(" ", ""))


def _of_file(file: Path) -> list[Method]:
    """The module-level `Method`s of a Python file, which is run: give only files whose origin you know."""
    if not file.is_file():
        raise ConfigError(f"{file}: no such file; expected a Python file with methods of your own")
    try:
        module = run_file(file, f"focalkit_methods_{file.stem}")
    except Exception as error:
        raise ConfigError(f"{file}: fails when it is run: {type(error).__name__}: {error}") from error
    found = [value for value in vars(module).values() if isinstance(value, Method)]
    if not found:
        raise ConfigError(
            f'{file}: defines no method; expected a line such as mine = Method("mine", loss="focal(gamma=1)")'
        )
    return found
