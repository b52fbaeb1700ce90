"""`compare`: plan, make the cells that are missing, evaluate all."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from focalkit._config_io import nearest
from focalkit._runs import write_json_atomic
from focalkit.compare import together
from focalkit.compare._specs import resolve
from focalkit.compare.cell import Outcome, failed, job_among, read, run
from focalkit.compare.comparison import Comparison
from focalkit.compare.engines import ENGINES, serial, threads_for
from focalkit.compare.methods import Method
from focalkit.compare.plan import Job, Plan, check_continues, metric_of, seeds_of
from focalkit.compare.store import Store
from focalkit.data import Selection
from focalkit.errors import ConfigError, DataError, InputError
from focalkit.tasks import Budget, Inspection, Metric, Source, Splits, find_task, open_task


@dataclass(frozen=True)
class Event:
    """Something that happened while a comparison runs: a cell started, was done, or failed."""

    kind: Literal["started", "done", "failed"]
    job: Job
    seconds: float = 0.0
    error: str = ""


def compare(
    data: str | Path,
    methods: Sequence[str | Method] | None = None,
    *,
    out: str | Path,
    task: str | None = None,
    seeds: int | Sequence[int] = 3,
    tune: int = 0,
    engine: str = "processes",
    jobs: int = 1,
    yardstick: str = "ce",
    metric: str | Metric | None = None,
    rope: float | None = None,
    resume: bool = True,
    target: str | None = None,
    group: str | None = None,
    leave_out: Sequence[str] = (),
    budget: Budget | None = None,
    strict: bool = False,
    progress: Callable[[Event], None] | None = None,
    selection: Selection | None = None,
) -> Comparison:
    """Compare treatments of imbalance on your data: same model, splits, initial weights, budget and trials for all.

    Args:
        data: A file or folder; the task is found by looking, or named by `task`.
        methods: Names of `METHODS`, "focal(gamma=1)", losses of the catalog, files with methods of your own, or
            `Method`s. None: those that the task recommends.
        out: Directory of the comparison.
        seeds: How many, or which. Where the data have no split of their own, every seed also splits them anew.
        tune: Trials per method and split; 0: every method as it stands in the table.
        engine: "processes", "serial" or "ray".
        jobs: Cells at the same time.
        yardstick: The method that the others are compared with; it is run too.
        metric: What ranks the methods: a metric of the task by name, or a `Metric` of your own.
        rope: Smallest difference that matters.
        resume: Go on with what is in `out`; False refuses a directory with a comparison.
        target: Target column, for tables.
        group: Column whose equal values stay together when the data are split.
        leave_out: Columns of a table that no model sees, such as identifiers.
        budget: Of every fit.
        strict: Refuse data with notes, such as test rows that are also training rows.
        progress: Told of everything that happens.
        selection: Of boxes: how data without splits are divided, and which classes are used.

    Returns:
        The comparison, with `results`, `ranking`, `best`.

    Raises:
        InputError: The data or an argument cannot be used.

    Example:
        comparison = compare("transactions.csv", ["ce", "focal(gamma=1)", "hist_gb"], seeds=5, out="runs/fraud")
        comparison.best
    """
    if not together.is_first():
        together.follow()
        return Comparison(Path(out), (metric,) if isinstance(metric, Metric) else (), task=task)
    with together.leading():
        plan, splits, own = make_plan(
            data, methods, task=task, seeds=seeds, tune=tune, yardstick=yardstick, metric=metric, rope=rope,
            target=target, group=group, leave_out=leave_out, budget=budget, strict=strict, selection=selection,
        )  # fmt: skip
        folder = Path(out)
        return run_plan(plan, splits, folder, engine=engine, jobs=jobs, resume=resume, metrics=own, progress=progress)


def make_plan(
    data: str | Path,
    methods: Sequence[str | Method] | None,
    *,
    task: str | None,
    seeds: int | Sequence[int],
    tune: int,
    yardstick: str,
    metric: str | Metric | None,
    rope: float | None,
    target: str | None,
    group: str | None,
    budget: Budget | None,
    strict: bool,
    selection: Selection | None = None,
    leave_out: Sequence[str] = (),
) -> tuple[Plan, Splits, tuple[Metric, ...]]:
    """What `compare` will run, the data of the first seed, and metrics that are not the task's; nothing is written.

    Raises:
        InputError: As `compare`.
    """
    name = task or find_task(Path(data))
    the_task = open_task(name)
    if tune < 0:
        raise ConfigError(f"tune must be at least 0 trials, got {tune}")
    if rope is not None and not 0 <= rope < math.inf:
        raise ConfigError(f"rope is the smallest difference that matters, a finite number of at least 0, got {rope}")
    own = (metric,) if isinstance(metric, Metric) else ()
    known = [m.name for m in (*the_task.metrics, *own)]
    asked = list(methods or the_task.default_methods)
    chosen = resolve(asked, name)
    if yardstick not in [method.name for method in chosen]:
        chosen = (*resolve([yardstick], name), *chosen)
    for method in chosen:
        if method.model not in ("default", *the_task.models):
            hint = nearest(method.model, ["default", *the_task.models])
            raise ConfigError(f"the method {method.name!r} asks the task {name!r} for the model {method.model!r}{hint}")
    if selection is not None and "boxes" not in the_task.kinds:
        raise InputError(f"{data}: divisions and chosen classes are for boxes; these data are for the task {name!r}")
    if leave_out and "rows" not in the_task.kinds:
        raise InputError(f"{data}: only tables have columns to leave out; these data are for the task {name!r}")
    source = Source(
        Path(data).resolve(),
        target,
        group,
        selection=selection and selection.absolute(),
        leave_out=(leave_out,) if isinstance(leave_out, str) else tuple(leave_out),
    )
    numbers = seeds_of(seeds)
    splits = read(name, source, numbers[0])
    if strict:
        grave = [f"{f.code} {f.check.title}: {f.seen}" for f in the_task.inspect(source, labels=False).findings
                 if f.check.level == "error"]  # fmt: skip
        if splits.notes or grave:
            raise DataError(source.path, [*grave, *splits.notes])
    plan = Plan(
        source=source,
        task=name,
        fingerprint=splits.fingerprint,
        methods=chosen,
        seeds=numbers,
        metric=metric_of(metric.name if isinstance(metric, Metric) else metric, known),
        tune=tune,
        budget=budget or Budget(),
        yardstick=next(m.name for m in chosen if yardstick.replace(" ", "") == m.name or yardstick == m.name),
        rope=rope,
        resplits=the_task.resplits and not splits.own_test,
    )
    return plan, splits, own


def run_plan(
    plan: Plan,
    splits: Splits,
    out: Path,
    *,
    engine: str = "processes",
    jobs: int = 1,
    resume: bool = True,
    metrics: Sequence[Metric] = (),
    progress: Callable[[Event], None] | None = None,
    inspection: Inspection | None = None,
) -> Comparison:
    """Make the cells of a plan that are not there yet, then evaluate all; `inspection` is that of the data, if known.

    Raises:
        ConfigError: `out` holds another comparison or cannot be used; an unknown engine; fewer than one job.
    """
    check_workers(engine, jobs)
    if together.count() > 1:
        together.check_shared(plan.task, engine, jobs)
    if (out / "run.json").is_file():
        raise ConfigError(f"{out}: holds a run of `focalkit train`; choose another --out")
    tell = progress or (lambda event: None)
    store = Store(out)
    with store.locked():
        if (out / "plan.json").is_file():
            if not resume:
                raise ConfigError(f"{out}: holds a comparison; choose another --out")
            plan = check_continues(store.read_plan(), plan, out)
        store.write_plan(plan)
        if inspection is None:
            inspection = open_task(plan.task).inspect(replace(plan.source, cache=out / "cache"), labels=False)
        write_json_atomic(out / "data.json", data_record(splits, inspection))
        store.clean()
        missing = [job for job in plan.jobs(out) if store.cell(job.method.name, job.seed).status != "done"]
        # one after another needs no second process; and few cells need few workers
        workers = min(jobs, max(1, len(missing)))
        engine_of = serial if engine == "processes" and workers == 1 else ENGINES[engine]
        workers = 1 if engine_of is serial else workers
        threads = threads_for(workers)
        for wave in _waves(missing):
            ready = [job_among(job, workers, threads) for job in wave]
            for job, outcome in engine_of(ready, run, workers, lambda job: tell(Event("started", job))):
                result: Outcome = outcome or failed(job, "the process died twice (killed, or out of memory)", 0.0)
                tell(Event("done" if result.status == "done" else "failed", job, result.seconds, result.error))
        store.clean()  # of workers that outlived an earlier comparison's end
        comparison = Comparison(out, metrics, task=plan.task)
        store.write_results(comparison.rows)
        if (best := comparison.best) is not None:
            store.link_best(best)
        return comparison


def check_workers(engine: str, jobs: int) -> None:
    """Raises ConfigError for an unknown engine, or fewer than one job."""
    if engine not in ENGINES:
        raise ConfigError(f"there is no engine {engine!r}{nearest(engine, list(ENGINES))}")
    if jobs < 1:
        raise ConfigError(f"jobs must be at least 1, got {jobs}")


def data_record(splits: Splits, inspection: Inspection) -> dict[str, Any]:
    """What was found while reading the data, JSON-ready."""
    facts = {"classes": list(splits.classes), "class_counts": list(splits.class_counts), "sizes": dict(splits.sizes)}
    found = {"findings": [finding.as_dict() for finding in inspection.findings], "notes": list(splits.notes)}
    return {**facts, "facts": dict(splits.facts), **found}


def _waves(jobs: Sequence[Job]) -> list[list[Job]]:
    """Cells that may be made at the same time: those that need another one's files, or its trials, come later."""
    first = {(job.method.name, job.tune_seed) for job in jobs if job.seed == job.tune_seed}
    waves: list[list[Job]] = [[], [], []]
    for job in jobs:
        waits = bool(job.tune) and job.seed != job.tune_seed and (job.method.name, job.tune_seed) in first
        waves[2 if job.base else 1 if waits else 0].append(job)
    return [wave for wave in waves if wave]
