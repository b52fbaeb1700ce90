"""What to call several runs, how they differ, and the answer in one sentence."""

import json
from collections.abc import Mapping, Sequence
from statistics import mean, stdev

from ._format import ap, difference, flatten, plural, setting
from ._read import RunRecord

SMALL_GAP = 0.01  # of AP; a single pair of runs says nothing about less
PLAIN_NAMES = {"ce": "cross-entropy", "bce": "cross-entropy", "focal": "focal loss"}


def loss_name(run: RunRecord) -> str:
    """The classification loss of the run in short: `focal loss`, `cross-entropy`, else the catalog name."""
    name = str(run.config.get("loss", "")).split("(")[0].strip()
    return PLAIN_NAMES.get(name, name)


def labels(runs: Sequence[RunRecord]) -> list[str]:
    """One distinct short name per run: its loss, its loss with parameters or seed, else its directory."""
    seeds = [f"seed {run.info.get('seed', '?')}" for run in runs]
    short = [loss_name(r) for r in runs]
    full = [str(r.config.get("loss", "")) for r in runs]
    names = [r.name for r in runs]
    choices = [short, full, [f"{a}, {b}" for a, b in zip(short, seeds, strict=True)]]
    choices += [names, [f"{r.path.resolve().parent.name}/{r.name}" for r in runs]]
    for choice in choices:
        if all(choice) and len(set(choice)) == len(runs):
            return choice
    return [f"{name} ({i})" for i, name in enumerate(names, 1)]


def differing(runs: Sequence[RunRecord]) -> list[tuple[str, list[str]]]:
    """Settings that are not the same in all runs: (dotted key, one value per run)."""
    flats = [flatten(r.config) | {"seed": r.info.get("seed", r.config.get("seed"))} for r in runs]
    keys = list(dict.fromkeys(k for flat in flats for k in flat))
    rows = [(k, [setting(flat.get(k)) for flat in flats]) for k in keys]
    return [(k, values) for k, values in rows if len(set(values)) > 1]


def answer(runs: Sequence[RunRecord], names: Sequence[str]) -> str:
    """The comparison in one sentence, the best run first; none where the runs were measured on other images."""
    groups = _groups(runs, names)
    scored = [(mean(_aps(group)), name, group) for name, group in groups.items() if group]
    if not scored:
        return "None of these runs has an AP yet."
    scored.sort(key=lambda s: -s[0])
    best = scored[0]
    seeds = _seeds([group for _, _, group in scored])
    if len(groups) == 1:
        return f"{_capital(best[1])}: {_value(best[2])} AP{seeds}."
    if not _comparable(groups):
        each = [f"{name} {_value(group)}" for _, name, group in scored[:4]] + ["others"] * (len(scored) > 4)
        return f"AP, each on its own images or classes and not to be compared: {', '.join(each)}."
    if len(scored) == 1:
        return f"{_capital(best[1])} has {_value(best[2])} AP{seeds}; the other runs have none yet."
    second = scored[1]
    if ap(best[0]) == ap(second[0]):
        return f"{_capital(best[1])} and {second[1]} are equal at {_value(best[2])} AP{seeds}."
    if len(scored) == 2:
        return f"{_capital(best[1])} reaches {_value(best[2])} AP against {_value(second[2])} for {second[1]}{seeds}."
    rest = f"next is {second[1]}, {_value(second[2])}"
    return f"{_capital(best[1])} is the best of {len(scored)}: {_value(best[2])} AP; {rest}{seeds}."


def caveats(runs: Sequence[RunRecord], names: Sequence[str]) -> list[str]:
    """What keeps the answer from being the last word, one sentence each."""
    found: list[str] = []
    groups = _groups(runs, names)
    comparable = _comparable(groups)
    if not comparable:
        found.append("The runs were not evaluated on the same images and classes: their numbers cannot be compared.")
    unfinished = [name for run, name in zip(runs, names, strict=True) if not run.finished]
    if unfinished:
        found.append(f"Not finished: {', '.join(unfinished)}. The number shown is the best validation so far.")
    if all(len(v) <= 1 for v in groups.values()):
        found.append(
            "One run per setting: with another seed the numbers would move. Read this as one observation, not as proof."
        )
        values = [value for group in groups.values() for value in _aps(group)]
        if comparable and len(values) == 2 and abs(values[0] - values[1]) < SMALL_GAP:
            found.append(f"A difference as small as {abs(values[0] - values[1]):.3f} may well be chance.")
    elif repeated := sum(len(group) - len(_distinct(group)) for group in groups.values()):
        found.append(
            "Mean and standard deviation over the runs given here, of which "
            + ("one repeats the seed of another" if repeated == 1 else f"{repeated} repeat the seeds of others")
            + ": they say less about other seeds than so many runs would."
        )
    elif len(groups) > 1 or _noun(list(groups.values())) == "fold":
        found.append(f"Mean and standard deviation over the {_noun(list(groups.values()))}s given here.")
    changed = {key for key, _ in differing(runs)} - {"seed", "loss"}
    if comparable and any(len(_folds(group)) > 1 for group in groups.values()):
        changed -= {"data.fold"}
    if changed:
        shown = ", ".join(sorted(changed)[:4]) + (" and more" if len(changed) > 4 else "")
        found.append(f"The runs also differ in {shown}.")
    return found


def gap(runs: Sequence[RunRecord], key: str) -> str:
    """For two runs: the first minus the second; empty otherwise."""
    values = [r.metrics.get(key) for r in runs]
    if len(values) != 2 or values[0] is None or values[1] is None:
        return ""
    return difference(values[0] - values[1])


def same_images(runs: Sequence[RunRecord]) -> bool:
    """Whether all were evaluated on the same images and classes; folds were not."""
    return len({json.dumps(_evaluated_on(run), sort_keys=True) for run in runs if run.evaluation}) <= 1


def best_of(values: Sequence[float | None]) -> set[int]:
    """Places of the highest value at the three decimals shown; empty where all are the same or missing."""
    shown = [ap(v) for v in values]
    present = [v for v in values if v is not None]
    if len(present) < 2 or len(set(shown)) == 1:
        return set()
    top = ap(max(present))
    return {i for i, text in enumerate(shown) if text == top}


def _groups(runs: Sequence[RunRecord], names: Sequence[str]) -> dict[str, list[RunRecord]]:
    """The runs that differ in nothing but seed and fold, together under one name; of them those with an AP."""
    members: dict[str, list[int]] = {}
    for i, run in enumerate(runs):
        members.setdefault(json.dumps(_but_seed_and_fold(run), sort_keys=True, default=str), []).append(i)
    losses = [loss_name(runs[m[0]]) for m in members.values() if len(m) > 1]
    groups: dict[str, list[RunRecord]] = {}
    for places in members.values():
        first = runs[places[0]]
        title = names[places[0]]
        if len(places) > 1:
            title = loss_name(first) if losses.count(loss_name(first)) == 1 else f"{first.name} and its repeats"
        if title in groups:
            title = f"{names[places[0]]} and its repeats"
        groups[title] = [runs[i] for i in places if "AP" in runs[i].metrics]
    return groups


def _aps(group: Sequence[RunRecord]) -> list[float]:
    return [run.metrics["AP"] for run in group]


def _value(group: Sequence[RunRecord]) -> str:
    values = _aps(group)
    return ap(values[0]) if len(values) == 1 else f"{mean(values):.3f} \u00b1 {stdev(values):.3f}"


def _seeds(groups: Sequence[Sequence[RunRecord]]) -> str:
    """How many seeds, folds, or runs of several kinds stand behind each number; empty for one run each."""
    sizes = [len(group) for group in groups]
    if set(sizes) == {1}:
        return ""
    noun = _noun(groups)
    if len(sizes) == 1:
        return f" ({plural(sizes[0], noun)})"
    return f" ({sizes[0]} {noun}s each)" if len(set(sizes)) == 1 else f" ({', '.join(map(str, sizes))} {noun}s)"


def _noun(groups: Sequence[Sequence[RunRecord]]) -> str:
    """What the runs of each group are to one another: folds, seeds, or just runs."""
    if any(len(_folds(group)) > 1 for group in groups):
        return "fold" if all(len(_folds(group)) == len(group) for group in groups) else "run"
    return "seed" if all(len(_distinct(group)) == len(group) for group in groups) else "run"


def _distinct(group: Sequence[RunRecord]) -> set[tuple[str, str]]:
    """The seeds of the runs, each with its fold."""
    return {(str(run.info.get("seed", run.config.get("seed"))), _fold(run)) for run in group}


def _folds(group: Sequence[RunRecord]) -> set[str]:
    return {_fold(run) for run in group}


def _fold(run: RunRecord) -> str:
    """Such as "2/5", of a run on one fold of a division; else empty."""
    data = run.config.get("data")
    return str(data.get("fold") or "") if isinstance(data, dict) else ""


def _but_seed_and_fold(run: RunRecord) -> dict[str, object]:
    """The settings; of the fold only of how many it is one."""
    config = {**run.config, "seed": None}
    return {**config, "data": {**config["data"], "fold": _fold(run).rpartition("/")[2]}} if _fold(run) else config


def _comparable(groups: Mapping[str, Sequence[RunRecord]]) -> bool:
    """Whether every group was measured on the same images; within a group folds may differ, and nothing else."""
    measured = [
        {json.dumps(_evaluated_on(r), sort_keys=True) for r in group if r.evaluation} for group in groups.values()
    ]
    alone = all(len(m) <= max(1, len(_folds(g))) for m, g in zip(measured, groups.values(), strict=True))
    return alone and len({frozenset(m) for m in measured if m}) <= 1


def _capital(text: str) -> str:
    """A capital at the start of the sentence, for names that are plain words."""
    return text[:1].upper() + text[1:] if text in PLAIN_NAMES.values() else text


def _evaluated_on(run: RunRecord) -> list[object]:
    evaluation = run.evaluation
    entries = evaluation.get("per_class")
    listed = entries if isinstance(entries, list) else []
    classes = [str((c.get("name"), c.get("count"))) for c in listed if isinstance(c, dict)]
    fold = _fold(run) if evaluation.get("split") == "val" else ""
    return [evaluation.get("split"), evaluation.get("num_images"), sorted(classes), fold]
