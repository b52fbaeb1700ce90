"""Definitions of calibration, transcribed from the papers; slow and plain."""

import mpmath as mp


def focal_minimiser(eta, gamma, alpha=0.5):
    """The p that minimises eta a (1-p)^g (-log p) + (1-eta) (1-a) p^g (-log(1-p)): where a network ends that is trained
    with binary focal loss and the true posterior eta. Found as the root of the derivative in the logit."""
    eta, gamma, alpha = mp.mpf(eta), mp.mpf(gamma), mp.mpf(alpha)

    def derivative(logit):
        p, q = 1 / (1 + mp.exp(-logit)), 1 / (1 + mp.exp(logit))
        positive = alpha * eta * (gamma * q ** (gamma - 1) * mp.log(p) - q**gamma / p)
        negative = (1 - alpha) * (1 - eta) * (p**gamma / q - gamma * p ** (gamma - 1) * mp.log(q))
        return positive + negative

    low, high = mp.mpf(-30), mp.mpf(30)
    while high - low > mp.mpf(10) ** -15:
        middle = (low + high) / 2
        low, high = (middle, high) if derivative(middle) < 0 else (low, middle)
    return 1 / (1 + mp.exp(-low))


def softmax_focal_minimiser(eta, gamma):
    """The class probabilities that minimise sum_c eta_c (1-p_c)^g (-log p_c) on the simplex, by Lagrange's conditions:
    eta_c (g (1-p_c)^(g-1) log p_c - (1-p_c)^g / p_c) is the same number, negative, for all classes."""
    eta, gamma = [mp.mpf(e) for e in eta], mp.mpf(gamma)

    def slope(e, p):
        return e * ((1 - p) ** gamma / p - gamma * (1 - p) ** (gamma - 1) * mp.log(p))

    def share(e, level):
        low, high = mp.mpf(10) ** -20, 1 - mp.mpf(10) ** -20
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (middle, high) if slope(e, middle) > level else (low, middle)
        return low

    low, high = mp.mpf(10) ** -8, mp.mpf(10) ** 8
    for _ in range(55):
        level = mp.sqrt(low * high)
        low, high = (level, high) if sum(share(e, level) for e in eta) > 1 else (low, level)
    return [share(e, low) for e in eta]


def expected_calibration_error(confidences, accuracies, bins, lower_closed=False):
    """sum_b n_b / n |acc_b - conf_b| by going through the bins one by one."""
    n, error, largest = len(confidences), 0.0, 0.0
    for b in range(bins):
        low, high = b / bins, (b + 1) / bins
        if lower_closed:
            rows = [i for i, c in enumerate(confidences) if low <= c < high or (b == bins - 1 and c == 1)]
        else:
            rows = [i for i, c in enumerate(confidences) if low < c <= high or (b == 0 and c == 0)]
        if rows:
            gap = abs(sum(accuracies[i] for i in rows) - sum(confidences[i] for i in rows)) / len(rows)
            error += len(rows) / n * gap
            largest = max(largest, gap)
    return error, largest


def smooth_calibration_error(scores, labels, cells=500):
    """smECE by its definition: the reflected kernel summed over three images, the integral by the midpoint rule."""
    import numpy as np

    f, y = np.asarray(scores, float), np.asarray(labels, float)
    t = (np.arange(cells) + 0.5) / cells

    def norm(sigma):
        kernel = np.zeros((cells, len(f)))
        for image in range(-2, 3):  # reflections at 0 and 1: 2 m + f and 2 m - f
            for place in (2 * image + f, 2 * image - f):
                kernel += np.exp(-0.5 * ((t[:, None] - place[None]) / sigma) ** 2)
        kernel /= sigma * np.sqrt(2 * np.pi)
        return np.abs(kernel @ (y - f) / len(f)).mean()

    low, high = 0.0, 0.5
    for _ in range(14):
        middle = (low + high) / 2
        low, high = (middle, high) if norm(middle) > middle else (low, middle)
    return high


def match(truth, results, tau):
    """Greedy matching, loop by loop: a list of (category, score, IoU or None if ignored) and the boxes per category."""
    rows, wanted = [], {}
    for annotation in truth["annotations"]:
        if not annotation.get("iscrowd"):
            wanted[annotation["category_id"]] = wanted.get(annotation["category_id"], 0) + 1
    groups = {}
    for found in results:
        groups.setdefault((found["image_id"], found["category_id"]), []).append(found)
    for (image, category), found in groups.items():
        boxes = [a for a in truth["annotations"] if (a["image_id"], a["category_id"]) == (image, category)]
        taken = set()
        for detection in sorted(found, key=lambda d: -d["score"])[:100]:
            best, at = 0.0, None
            for j, a in enumerate(boxes):
                overlap = box_iou(detection["bbox"], a["bbox"])
                if not a.get("iscrowd") and j not in taken and overlap > 0 and overlap >= max(tau, best):
                    best, at = overlap, j
            if at is not None:
                taken.add(at)
            elif any(a.get("iscrowd") and covered(detection["bbox"], a["bbox"]) >= max(tau, 1e-12) for a in boxes):
                best = None
            rows.append((category, detection["score"], best))
    return rows, wanted


def overlap_area(a, b):
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    return max(width, 0) * max(height, 0)


def box_iou(a, b):
    shared = overlap_area(a, b)
    return shared / (a[2] * a[3] + b[2] * b[3] - shared)


def covered(a, b):
    return overlap_area(a, b) / (a[2] * a[3])


def detection_error(truth, results, tau, kind, bins=25):
    """D-ECE, LaECE and LaACE as sums over bins of lists."""
    rows = [row for row in match(truth, results, tau)[0] if row[2] is not None]
    if kind == "d-ece":
        return expected_calibration_error([s for _, s, _ in rows], [float(iou > 0) for *_, iou in rows], bins)[0]
    errors = []
    for category in sorted({row[0] for row in rows}):
        scores = [s for c, s, _ in rows if c == category]
        ious = [iou for c, _, iou in rows if c == category]
        if kind == "laece":
            errors.append(expected_calibration_error(scores, ious, bins)[0])
        else:
            errors.append(sum(abs(s - i) for s, i in zip(scores, ious, strict=True)) / len(scores))
    return sum(errors) / len(errors)


def optimal_lrp(truth, results, tau):
    """Mean over the categories with ground truth of the least LRP over all cuts; and the cuts."""
    rows, wanted = match(truth, results, tau)
    errors, cuts = [], {}
    for category, boxes in sorted(wanted.items()):
        own = [(s, iou) for c, s, iou in rows if c == category and iou is not None]
        best = (1.0, None)
        for cut in sorted({s for s, _ in own}, reverse=True):
            kept = [iou for s, iou in own if s >= cut]
            hits = [iou for iou in kept if iou > 0]
            wrong, missed = len(kept) - len(hits), boxes - len(hits)
            error = (wrong + missed + sum((1 - i) / (1 - tau) for i in hits)) / (len(hits) + wrong + missed)
            if error < best[0]:
                best = (error, cut)
        errors.append(best[0])
        cuts[category] = best[1]
    return sum(errors) / len(errors), cuts
