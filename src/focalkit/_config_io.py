"""Configuration dataclasses <-> plain dicts, TOML files and run.json. Free of torch.

A key that no dataclass has is an error with the nearest name; so is a value of the wrong type. TOML has no null: the
string "none" stands for it where a field may be `None`.
"""

import dataclasses
import difflib
import math
import re
import tomllib
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeGuard, TypeVar, Union, get_args, get_origin, get_type_hints

from focalkit._files import read_json, read_text
from focalkit.config import DataConfig, RuntimeConfig, TrainConfig
from focalkit.errors import ConfigError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

C = TypeVar("C", bound="DataclassInstance")

RENAMED = {"model.numerics.bound_shrink": "clamp_dwdh_min"}
"""What files of earlier versions call otherwise: dotted name -> the key today."""


def config_to_dict(config: "DataclassInstance") -> dict[str, Any]:
    """A configuration as JSON-ready values: paths become strings, tuples become lists."""
    return {f.name: _to_plain(getattr(config, f.name)) for f in dataclasses.fields(config)}


def config_from_dict(
    values: Mapping[str, Any], base: TrainConfig | None = None, *, source: str = "configuration"
) -> TrainConfig:
    """`base` with `values` put over it; the inverse of `config_to_dict`.

    Args:
        values: Nested like `TrainConfig`; keys that are missing keep the value of `base`.
        source: Named in the messages.

    Raises:
        ConfigError: Every unknown key (with the nearest name) and every value of the wrong type, all at once.

    Example:
        >>> config_from_dict({"epochs": 3, "model": {"backbone": "resnet18"}}).model.backbone
        'resnet18'
    """
    problems: list[str] = []
    config = _overlay(TrainConfig() if base is None else base, grouped(values), "", problems)
    if problems:
        raise ConfigError("\n  ".join([f"{source}: {len(problems)} problem{'s' * (len(problems) > 1)}", *problems]))
    return config


def grouped(values: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a file with those of `data` and `runtime` in their tables, where they stand at the top.

    There they stood in schema 1 of run.json, and flags still do: `data = "my-data"` is `data.path`, `workers = 0` is
    `runtime.workers`. A table of the file goes before what stands at the top.
    """
    found = dict(values)
    if "data" in found and not isinstance(found["data"], Mapping):
        found["data"] = {"path": found["data"]}
    for group, config in (("data", DataConfig), ("runtime", RuntimeConfig)):
        names = {f.name for f in dataclasses.fields(config)} - {"path"}
        at_top = {name: found.pop(name) for name in names & found.keys()}
        if at_top and isinstance(found.setdefault(group, {}), Mapping):
            found[group] = at_top | dict(found[group])
    return found


def load_config(path: Path, base: TrainConfig | None = None, *, trust: bool = False) -> TrainConfig:
    """`base` with a TOML file, or with the configuration in a `run.json`, put over it.

    Relative paths inside the file are taken as flags are: from the working directory.

    Args:
        path: The file, or the directory of a run.
        base: None is `TrainConfig()`.
        trust: Take a configuration that names code to import, such as a loss "my_pkg.mod:MyLoss".

    Raises:
        ConfigError: The file is missing, malformed, or fails `config_from_dict` or `refuse_code`.
    """
    path = Path(path)
    if path.is_dir():
        path = path / "run.json"
    if not path.is_file():
        raise ConfigError(f"{path}: no such file; expected a TOML file or the run.json of an earlier run")
    try:
        if path.suffix == ".json":
            values = read_json(path)
            values = values.get("config", values) if isinstance(values, dict) else values
        else:
            values = tomllib.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise ConfigError(
            f"{path}: cannot be read as {'JSON' if path.suffix == '.json' else 'TOML'} ({error})"
        ) from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: expected a table of settings, got {type(values).__name__}")
    config = config_from_dict(values, base, source=str(path))
    if not trust:
        refuse_code(config, path, known=base)
    return config


def refuse_code(config: TrainConfig, source: object, known: TrainConfig | None = None) -> None:
    """Refuse a configuration read from a file that would import modules of its own choice.

    Raises:
        ConfigError: With every such value that is not in `known`, and the module that it would import and run.
    """
    allowed = {} if known is None else _imports(known)
    if found := {name: spec for name, spec in _imports(config).items() if allowed.get(name) != spec}:
        lines = [f'"{name}" = {spec!r} imports and runs {spec.partition(":")[0]}' for name, spec in found.items()]
        raise ConfigError(
            "\n  ".join([f"{source}: names code to import, which is not done without --trust", *lines])
            + "\n  if you know where the file comes from, allow that with --trust; otherwise take another value"
        )


def spell_none(argv: Sequence[str]) -> list[str]:
    """The words of a command line with "none" spelt as `None`, as the parser of flags wants it, where that is meant.

    Example:
        >>> spell_none(["--optim.clip-norm", "none", "--logger", "none"])
        ['--optim.clip-norm', 'None', '--logger', 'none']
    """
    names = {name.removeprefix("data.").removeprefix("runtime.") for name in _optional(TrainConfig())}
    flags = {"--" + ("data" if name == "path" else name).replace("_", "-") for name in names}
    words: list[str] = []
    for word in argv:
        flag, given, value = word.partition("=")
        if given and flag.replace("_", "-") in flags and value.lower() == "none":
            word = f"{flag}=None"
        elif words and words[-1].replace("_", "-") in flags and word.lower() == "none":
            word = "None"
        words.append(word)
    return words


def _optional(config: "DataclassInstance", prefix: str = "") -> set[str]:
    """Dotted names of the fields that may be None."""
    found: set[str] = set()
    for name, hint in get_type_hints(type(config)).items():
        value = getattr(config, name)
        if _is_table(value):
            found |= _optional(value, f"{prefix}{name}.")
        elif type(None) in get_args(hint):
            found.add(prefix + name)
    return found


def infinite(config: "DataclassInstance", prefix: str = "") -> dict[str, float]:
    """Dotted names of the numbers in a configuration that are NaN or infinite."""
    found: dict[str, float] = {}
    for f in dataclasses.fields(config):
        value = getattr(config, f.name)
        if _is_table(value):
            found |= infinite(value, f"{prefix}{f.name}.")
        for one in value if isinstance(value, tuple) else (value,):
            if isinstance(one, float) and not math.isfinite(one):
                found[prefix + f.name] = one
    return found


def differences(a: "DataclassInstance", b: "DataclassInstance", prefix: str = "") -> dict[str, tuple[Any, Any]]:
    """Dotted names of the fields in which two configurations of one type differ, with both values."""
    found: dict[str, tuple[Any, Any]] = {}
    for f in dataclasses.fields(a):
        left, right = getattr(a, f.name), getattr(b, f.name)
        if _is_table(left):
            found |= differences(left, right, f"{prefix}{f.name}.")
        elif left != right:
            found[prefix + f.name] = (left, right)
    return found


def nearest(name: str, known: list[str]) -> str:
    """'; did you mean "x"?' or the list of known names, for the end of a message."""
    if close := difflib.get_close_matches(name, known, n=1, cutoff=0.6):
        return f'; did you mean "{close[0]}"?'
    return f"; known: {', '.join(known)}"


def _overlay(base: C, values: Mapping[str, Any], prefix: str, problems: list[str]) -> C:
    hints = get_type_hints(type(base))
    changed: dict[str, Any] = {}
    for given, value in values.items():
        key = RENAMED.get(prefix + given, given)
        name = prefix + key
        if key not in hints:
            problems.append(f'unknown key "{name}"{_suggest(name, key, prefix, list(hints))}')
            continue
        current = getattr(base, key)
        if _is_table(current):
            if isinstance(value, Mapping):
                changed[key] = _overlay(current, value, f"{name}.", problems)
            else:
                problems.append(f'"{name}" is a table, got {value!r}')
            continue
        try:
            changed[key] = _convert(value, hints[key])
        except (TypeError, ValueError):
            problems.append(f'"{name}" expects {_describe(hints[key])}, got {value!r}')
    return dataclasses.replace(base, **changed)


_IMPORT = re.compile(r"\s*([A-Za-z_][\w.]*|.*\.py):[A-Za-z_]\w*\s*(\(|$)", re.DOTALL)
"""The forms "my_pkg.mod:MyLoss(gamma=1)" and "folder/my.py:pipeline"."""
_NO_CODE = ("model.backbone",)
"""Names that only look like it: "timm:convnext_tiny"."""


def _imports(config: "DataclassInstance", prefix: str = "") -> dict[str, str]:
    """Dotted name -> value of the fields that name code; paths, which are of another type, do not."""
    found: dict[str, str] = {}
    for f in dataclasses.fields(config):
        value = getattr(config, f.name)
        if _is_table(value):
            found |= _imports(value, f"{prefix}{f.name}.")
        elif isinstance(value, str) and _IMPORT.match(value) and prefix + f.name not in _NO_CODE:
            found[prefix + f.name] = value.strip()
    return found


def _suggest(name: str, key: str, prefix: str, siblings: list[str]) -> str:
    # a key in the wrong table ("lr" for "optim.lr") is as common as a misspelt one
    elsewhere = [n for n in _all_names(TrainConfig()) if n.rpartition(".")[2] == key and n != name]
    if elsewhere:
        return f'; did you mean "{elsewhere[0]}"?'
    if not prefix:  # what has no prefix as a flag may have lost more than its table
        grouped = {n.rpartition(".")[2]: n for n in _all_names(TrainConfig()) if n.startswith(("data.", "runtime."))}
        if close := difflib.get_close_matches(key, [*siblings, *grouped], n=1, cutoff=0.6):
            return f'; did you mean "{grouped.get(close[0], close[0])}"?'
    return nearest(name, [prefix + s for s in siblings])


def _all_names(config: "DataclassInstance", prefix: str = "") -> list[str]:
    names = []
    for f in dataclasses.fields(config):
        value = getattr(config, f.name)
        names += _all_names(value, f"{prefix}{f.name}.") if _is_table(value) else [prefix + f.name]
    return names


def _convert(value: Any, hint: Any) -> Any:
    origin, args = get_origin(hint), get_args(hint)
    if origin is Literal:
        if value in args or str(value) in args:
            return value if value in args else str(value)
        raise ValueError
    if origin in (Union, types.UnionType):
        if value is None or (isinstance(value, str) and value.lower() == "none"):
            return None
        return _convert(value, next(a for a in args if a is not type(None)))
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            raise TypeError
        if args[-1] is not Ellipsis and len(value) != len(args):
            raise ValueError
        return tuple(_convert(v, args[0]) for v in value)
    if hint is Path:
        return Path(value)
    if hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        if not math.isfinite(value):
            raise ValueError
        return float(value)
    if isinstance(value, hint) and not (isinstance(value, bool) and hint is not bool):
        return value
    raise TypeError


def _describe(hint: Any) -> str:
    origin, args = get_origin(hint), get_args(hint)
    if origin is Literal:
        return "one of " + ", ".join(repr(a) for a in args)
    if origin in (Union, types.UnionType):
        return _describe(next(a for a in args if a is not type(None))) + ' or "none"'
    if origin is tuple:
        return f"a list of {'numbers' if args[-1] is Ellipsis else f'{len(args)} numbers'}"
    return {int: "a whole number", float: "a number", str: "a string", bool: "true or false", Path: "a path"}[hint]


def _to_plain(value: object) -> Any:
    if _is_table(value):
        return config_to_dict(value)
    if isinstance(value, Path):
        return str(value)
    return [_to_plain(v) for v in value] if isinstance(value, tuple) else value


def _is_table(value: object) -> "TypeGuard[DataclassInstance]":
    """Whether a value of a configuration has fields of its own."""
    return dataclasses.is_dataclass(value) and not isinstance(value, type)
