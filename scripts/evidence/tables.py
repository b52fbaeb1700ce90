"""The section on tables, from tables.json: rows of data set x method with one value per seed."""

from collections import Counter
from statistics import mean
from typing import Any

from evidence import Section, table
from evidence.ranks import picture

TITLE = "Tables with a rare class"
OVER = ("oversample", "hist_gb_oversample")
BAGS = ("hist_gb_under_bagging", "balanced_forest", "easy_ensemble")
FOCAL = ("focal", "lightgbm_focal", "xgboost_focal")
PICTURE = "tables_ranks.svg"
Rows = list[dict[str, Any]]


def section(result: dict[str, Any]) -> Section:
    """What was run, every method beside its plain peer, ranks, and what the literature expects."""
    from focalkit.compare.statistics import rank_methods

    rows: Rows = result["rows"]
    names = list(dict.fromkeys(row["method"] for row in rows))
    # moving a threshold ranks nothing otherwise: its average precision is the yardstick's
    scores = {m: [mean(r["average_precision"]) for r in of(rows, m)] for m in names if m != "threshold_moving"}
    ranking = rank_methods(scores)
    n = len(result["tables"])
    tables = f"{n} public tables" if n == result["planned"] else f"{n} of {result['planned']} public tables"
    about = [(t["table"], f"{t['rows']:,}", f"{t['share']:.1%}") for t in result["tables"]]
    plain = [against_plain(of(rows, m), n) for m in names if of(rows, m)[0]["plain"] != m]
    difference = f"critical difference {ranking.critical_difference:.2f}"
    parts = [
        f"{tables}, chosen before any was run; {result['seeds']} seeds, each with its own split"
        f" (a fifth of the"
        f" rows to test on). Tables of more than {result['most_rows']:,} rows are cut to so many; networks train for at"
        f" most {result['steps']} steps. No tuning: every method as it stands.\n",
        table(("table", "rows", "rare class"), about),
        "### Against the plain peer\n",
        "Average precision of the same model with and without the treatment (for the ensembles: the boosted trees)."
        " *Higher* counts the tables whose mean is higher. The verdicts are those of each table alone; three seeds show"
        " large differences only.\n",
        table(("method", "plain", "mean difference", "higher", "better", "worse", "not shown"), plain),
        "### Ranks\n",
        "Mean rank over the tables by average precision, 1 is best (Friedman's test that all rank alike:"
        f" p = {ranking.p:.1g}). Methods whose bars do not overlap differ (Nemenyi, 95 %; {difference}).\n",
        f"![Mean ranks of the methods with critical differences](assets/evidence/{PICTURE})\n",
        "### What was expected, and what came out\n",
        *expectations(rows, n),
    ]
    drawn = picture(ranking.ranks, ranking.critical_difference)
    return Section(TITLE, short(rows, n), "\n".join(parts), {PICTURE: drawn})


def of(rows: Rows, method: str) -> Rows:
    """The rows of a method, one per table."""
    return [row for row in rows if row["method"] == method]


def against_plain(rows: Rows, n: int) -> tuple[str, ...]:
    """One line of the table."""
    counts = Counter(row["verdict"] for row in rows)
    higher = sum(row["difference"] > 0 for row in rows)
    shown = str(counts["not shown"] + counts["equivalent"])
    ends = (f"{higher} of {n}", str(counts["better"]), str(counts["worse"]), shown)
    return (rows[0]["method"], rows[0]["plain"], f"{mean(row['difference'] for row in rows):+.3f}", *ends)


def expectations(rows: Rows, n: int) -> list[str]:
    """The claims of the literature that these tables can test."""
    lines = []
    for method in OVER:
        better = sum(row["verdict"] == "better" for row in of(rows, method))
        word = "Not contradicted" if better <= 1 else "Against what was expected"
        claim = "random over-sampling does not beat the plain model (CLIMB, arXiv 2505.17451)"
        lines.append(
            f"- {word}: {claim}: `{method}` is better than `{of(rows, method)[0]['plain']}` on {better} of {n}."
        )
    moved = of(rows, "threshold_moving")
    same = sum(a["average_precision"] == b["average_precision"] for a, b in zip(moved, of(rows, "ce"), strict=True))
    raised = sum(mean(row["macro_f1"]) > mean(row["macro_f1_default"]) for row in moved)
    word = "As expected" if same == n and raised >= 0.75 * n else "Against what was expected"
    lines.append(
        f"- {word}: a moved threshold changes average precision of none and raises macro F1: unchanged"
        f" on {same} of {n}, "
        f"macro F1 of the network higher on {raised} of {n}. Over all methods and tables it is higher in "
        f"{share_raised(rows):.0%}."
    )
    for method in BAGS:
        lost = sum(row["verdict"] == "worse" for row in of(rows, method))
        below = sum(row["difference"] < 0 for row in of(rows, method))
        word = "Against what was expected" if lost else "Not contradicted"
        lines.append(
            f"- {word}: under-bagging at least ties with the plain model (CLIMB): `{method}` is shown to be worse than "
            f"`hist_gb` on {lost} of {n}; its mean is lower on {below}."
        )
    lines += [focal(of(rows, method), n) for method in FOCAL if of(rows, method)]
    return [*lines, ""]


def focal(rows: Rows, n: int) -> str:
    """The question of the page."""
    better, worse = (sum(row["verdict"] == word for row in rows) for word in ("better", "worse"))
    higher, name, plain = sum(row["difference"] > 0 for row in rows), rows[0]["method"], rows[0]["plain"]
    return (
        f"- Focal loss, gamma 2, not tuned: `{name}` is better than `{plain}` on {better} of {n} and"
        f" worse on {worse}; its"
        f" mean is higher on {higher}, and differs by {mean(row['difference'] for row in rows):+.3f} on average."
    )


def share_raised(rows: Rows) -> float:
    """Share of method x table where the tuned threshold has the higher mean macro F1."""
    apart = [row for row in rows if row["method"] != "threshold_moving"]
    return mean(mean(row["macro_f1"]) > mean(row["macro_f1_default"]) for row in apart)


def short(rows: Rows, n: int) -> str:
    """For the top of the page."""
    found = [row for method in FOCAL for row in of(rows, method)]
    better, worse = (sum(row["verdict"] == word for row in found) for word in ("better", "worse"))
    over = sum(row["verdict"] == "better" for method in OVER for row in of(rows, method))
    return (
        f"**{TITLE}**: of {len(found)} comparisons of focal loss with the plain model (network,"
        f" LightGBM, XGBoost on {n}"
        f" tables) {better} show a gain in average precision and {worse} a loss; random over-sampling"
        f" gains in {over} of"
        f" {len(OVER) * n}."
    )
