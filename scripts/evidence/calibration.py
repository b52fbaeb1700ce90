"""The sections on calibrated detectors, from detector_calibration.json and calibrate_facemask.json."""

from statistics import mean
from typing import Any

from evidence import Section, table

LOSSES = "Scores of detectors: what four losses say, before and after calibration"
FACEMASK = "Face masks: calibrated on half of the validation images, judged on the other"
COLUMNS = ("before", "posterior", "temperature", "platt", "beta", "isotonic", "histogram", "box")


def losses(result: dict[str, Any]) -> Section:
    """D-ECE and LaECE_0 of each loss, the mean over seeds, before and after each calibrator."""
    rows = result["rows"]
    kinds = list(dict.fromkeys((row["data"], row["loss"]) for row in rows))
    chosen = {kind: [row for row in rows if (row["data"], row["loss"]) == kind] for kind in kinds}
    parts = [
        "Fitted on half of the validation images, judged on the other half; means over five divisions. `posterior` is "
        "the closed inverse of the focal loss that trained the run, fitted to nothing. Focal loss and CE are "
        "RetinaNet's, whose scores learn the class; QFL and varifocal loss VarifocalNet's head, whose scores learn the "
        "IoU: compare within these pairs. Maps are those to precision for D-ECE, and to "
        "precision times IoU for LaECE_0. Of scores without a fault the noise of n detections in 25 bins makes a D-ECE "
        "of up to 2 / sqrt(n) on average: what is left where detections are few need not be a fault of the map.\n"
    ]
    for measure in ("D-ECE", "LaECE_0"):
        lines = []
        for (data, loss), group in chosen.items():
            cells = [_mean(group, measure, column) for column in COLUMNS]
            judged = f"{mean(row['detections'] for row in group) / 2:,.0f}"
            lines.append((data, loss, str(len(group)), f"{mean(row['AP'] for row in group):.3f}", judged, *cells))
        parts.append(f"{measure}:\n\n" + table(("trained on", "loss", "seeds", "AP", "judged", *COLUMNS), lines))
    said = "; ".join(f"{data}: {_falls(chosen, data)}" for data in dict.fromkeys(data for data, _ in chosen))
    return Section(LOSSES, f"**{LOSSES}**: D-ECE before and after Platt scaling, {said}.", "\n".join(parts))


def facemask(result: dict[str, Any]) -> Section:
    """Means over the divisions, the worst one, and the precision that thresholds chosen for a target reach."""
    rows, means = result["rows"], result["means"]
    head = ("", "before", "map to precision", "map to precision times IoU")
    lines = [(m, *(f"{means[m][c]:.3f}" for c in ("before", "precision", "localisation"))) for m in means]
    reached = [row["operating"]["precision"] for row in rows]
    low, high = rows[0]["intervals"]["precision"]
    change = result["largest change of AP"]
    enough = sum(p >= 0.87 for p in reached)
    ap = f"changes by at most {change:.1g}" if change else "does not change"
    text = (
        f"{result['data']}; {len(rows)} divisions, {rows[0]['fit']} images fitted and {rows[0]['judged']} judged in "
        f"each.\n\n{table(head, lines)}\n"
        f"In the worst division {result['most of D-ECE left']:.0%} of D-ECE is left by the map to precision, and "
        f"{result['most of LaECE_0 left']:.0%} of LaECE_0 by the map to precision times IoU; AP {ap}. Thresholds "
        f"chosen for precision 0.9 on one half reach {mean(reached):.3f} on the other ({min(reached):.3f} to "
        f"{max(reached):.3f}; recall {result['recall at the thresholds']:.3f}): at least 0.87 in {enough} of "
        f"{len(rows)} divisions. That is what so few images can say: the 95 % interval of the first division is "
        f"{low:.3f} to {high:.3f}. `--confidence` makes the target a guarantee, at the cost of recall.\n"
    )
    short = (
        f"**{FACEMASK}**: D-ECE {means['D-ECE']['before']:.3f}, {means['D-ECE']['precision']:.3f} after; thresholds "
        f"for precision 0.9 reach {mean(reached):.3f}."
    )
    return Section(FACEMASK, short, text)


def _mean(group: list[dict[str, Any]], measure: str, column: str) -> str:
    if any(column not in row["errors"][measure] for row in group):
        return "-"
    return f"{mean(row['errors'][measure][column] for row in group):.3f}"


def _falls(chosen: dict[tuple[str, str], list[dict[str, Any]]], data: str) -> str:
    groups = {loss: group for (of, loss), group in chosen.items() if of == data}
    return ", ".join(
        f"{loss} {_mean(g, 'D-ECE', 'before')} and {_mean(g, 'D-ECE', 'platt')}" for loss, g in groups.items()
    )
