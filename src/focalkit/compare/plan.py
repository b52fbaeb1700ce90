"""What a comparison will run, as data: `plan.json`, and what `--dry-run` prints."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from focalkit._config_io import nearest
from focalkit.compare._specs import folder_name
from focalkit.compare.methods import Method, Range
from focalkit.data import Selection
from focalkit.errors import ConfigError
from focalkit.tasks import Budget, Source

SCHEMA = 1
MOST_SEEDS = 100_000


@dataclass(frozen=True)
class Job:
    """One cell to be made: everything that a worker needs to know, as plain values that can be sent to it."""

    out: Path
    task: str
    source: Source
    fingerprint: str
    method: Method
    seed: int
    budget: Budget
    tune: int = 0
    tune_seed: int = 0
    base: str | None = None
    """A method whose training is the same; this cell is then made from that one's files."""

    @property
    def folder(self) -> Path:
        """Where the cell lies when it is finished."""
        return self.out / "cells" / folder_name(self.method.name) / f"seed{self.seed}"


@dataclass(frozen=True)
class Plan:
    """Methods x seeds on one set of data.

    Attributes:
        source: The data.
        task: Name of the task.
        fingerprint: Hash of the data's content.
        methods: What is compared; the yardstick is among them.
        seeds: One cell per method and seed.
        tune: Trials per method, 0 for none.
        budget: Of every fit.
        metric: Name of the metric that ranks.
        yardstick: Name of the method that the others are compared with.
        rope: Differences smaller than this do not matter; None lets the statistics choose.
        resplits: Whether every seed has its own split, and so its own tuning.
    """

    source: Source
    task: str
    fingerprint: str
    methods: tuple[Method, ...]
    seeds: tuple[int, ...]
    metric: str
    tune: int = 0
    budget: Budget = field(default_factory=Budget)
    yardstick: str = "ce"
    rope: float | None = None
    resplits: bool = True

    def jobs(self, out: Path) -> list[Job]:
        """All cells; those of one seed together, and those made from another cell's files after it."""
        made = [
            Job(
                out=out,
                task=self.task,
                source=replace(self.source, cache=out / "cache"),
                fingerprint=self.fingerprint,
                method=method,
                seed=seed,
                budget=self.budget,
                tune=self.tune,
                tune_seed=seed if self.resplits else self.seeds[0],
                base=self.base_of(method),
            )
            for seed in self.seeds
            for method in self.methods
        ]
        return sorted(made, key=lambda job: (self.seeds.index(job.seed), job.base is not None))

    def base_of(self, method: Method) -> str | None:
        """The first method that trains the same and adjusts nothing afterwards, or None where there is none before.

        With tuning every method has trials of its own, so none shares its training.
        """
        if self.tune:
            return None
        for other in self.methods:
            if other is method:
                return None
            if other.adjust is None and training_of(other) == training_of(method):
                return other.name
        return None


def training_of(method: Method) -> dict[str, Any]:
    """The fields that a fit depends on."""
    loss = "ce" if method.loss == "default" else method.loss.replace(" ", "")
    names = ("class_weight", "sampler", "augment", "schedule", "model")
    return {"loss": loss, "settings": dict(method.settings)} | {name: getattr(method, name) for name in names}


def plan_to_dict(plan: Plan) -> dict[str, Any]:
    """JSON-ready."""
    values = {f.name: getattr(plan, f.name) for f in fields(plan)}
    values["source"] = {"path": str(plan.source.path), "target": plan.source.target, "group": plan.source.group}
    if plan.source.leave_out:
        values["source"]["leave_out"] = list(plan.source.leave_out)
    if plan.source.selection is not None:
        values["source"]["selection"] = asdict(plan.source.selection)
    values["methods"] = [method_to_dict(method) for method in plan.methods]
    return {"schema": SCHEMA, **values, "seeds": list(plan.seeds), "budget": asdict(plan.budget)}


def plan_from_dict(values: dict[str, Any], source: str) -> Plan:
    """The inverse.

    Raises:
        ConfigError: It is not a plan, or one of another version.
    """
    if values.get("schema") != SCHEMA:
        raise ConfigError(f"{source}: schema {values.get('schema')!r}, this focalkit reads schema {SCHEMA}")
    try:
        where = values["source"]
        plan = Plan(
            **{
                name: values[name]
                for name in ("task", "fingerprint", "metric", "tune", "yardstick", "rope", "resplits")
            },
            source=Source(
                Path(where["path"]),
                where["target"],
                where["group"],
                selection=_selection(where.get("selection")),
                leave_out=tuple(where.get("leave_out", ())),
            ),
            methods=tuple(method_from_dict(row) for row in values["methods"]),
            seeds=seeds_of(values["seeds"]),
            budget=Budget(**values["budget"]),
        )
        if not all(isinstance(text, str) for text in (plan.task, plan.metric, plan.fingerprint)):
            raise TypeError("task, metric and fingerprint are texts")
        if plan.yardstick not in [method.name for method in plan.methods]:
            raise TypeError(f"its yardstick {plan.yardstick!r} is none of its methods")
        return plan
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ConfigError(f"{source}: not the plan of a comparison ({type(error).__name__}: {error})") from error


def method_to_dict(method: Method) -> dict[str, Any]:
    """JSON-ready."""
    values = {f.name: getattr(method, f.name) for f in fields(method)}
    values["space"] = {key: asdict(value) for key, value in method.space.items()}
    return {**values, "settings": dict(method.settings), "tasks": method.tasks and sorted(method.tasks)}


def method_from_dict(values: dict[str, Any]) -> Method:
    """The inverse of `method_to_dict`."""
    space = {key: Range(**value) for key, value in values["space"].items()}
    tasks = values["tasks"] and frozenset(values["tasks"])
    return Method(**{**values, "space": space, "tasks": tasks})


def check_continues(old: Plan, new: Plan, out: Path) -> Plan:
    """The plan with which a comparison goes on: the new one, its cells beside those that the old one made.

    Raises:
        ConfigError: The two differ in what every cell depends on.
    """
    for name in ("task", "fingerprint", "tune", "metric_free"):
        before, now = _shared(old)[name], _shared(new)[name]
        if before != now:
            what = {
                "fingerprint": "other data",
                "metric_free": "another budget, target, group or columns left out",
            }.get(name, name)
            raise ConfigError(f"{out}: holds a comparison with {what} ({before!r}, now {now!r}); choose another --out")
    before = {method.name: method for method in old.methods}
    for method in new.methods:
        known = before.get(method.name, method)
        if (training_of(known), known.adjust) != (training_of(method), method.adjust):
            raise ConfigError(
                f"{out}: the method {method.name!r} was another one when this comparison began; "
                "give yours another name or choose another --out"
            )
    return new


def seeds_of(seeds: int | Sequence[int]) -> tuple[int, ...]:
    """3 stands for 0, 1, 2.

    Raises:
        ConfigError: None, negative ones or the same twice.
    """
    if isinstance(seeds, int) and seeds > MOST_SEEDS:
        raise ConfigError(f"seeds must be at most {MOST_SEEDS:,}, got {seeds}")
    found = tuple(range(seeds)) if isinstance(seeds, int) else tuple(int(seed) for seed in seeds)
    if not found or min(found) < 0 or len(set(found)) < len(found):
        raise ConfigError(f"seeds must be a number of at least 1 or different integers of at least 0, got {seeds!r}")
    return found


def metric_of(name: str | None, known: Sequence[str]) -> str:
    """The metric that ranks: the named one or the task's first.

    Raises:
        ConfigError: The task has no such metric.
    """
    if name is not None and name not in known:
        raise ConfigError(f"there is no metric {name!r}{nearest(name, list(known))}")
    return name or known[0]


def _shared(plan: Plan) -> dict[str, Any]:
    # threads are left out: they change how long a fit takes
    free = (plan.source.target, plan.source.group, plan.budget.steps, plan.budget.seconds)
    if plan.source.leave_out:
        free = (*free, *sorted(set(plan.source.leave_out)))
    return {"task": plan.task, "fingerprint": plan.fingerprint, "tune": plan.tune, "metric_free": free}


def _selection(values: dict[str, Any] | None) -> Selection | None:
    return None if values is None else Selection(**{**values, "merge": tuple(values["merge"])})
