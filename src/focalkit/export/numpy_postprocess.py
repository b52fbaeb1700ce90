"""From an image to the network's input, and from its raw outputs to boxes: numpy and nothing else.

This file can be copied to a device that has neither torch nor focalkit; `info` is the JSON under the key "focalkit" in
the exported file's metadata, read with `json.loads`. The arithmetic is that of `focalkit.detection.DensePostprocess`
and `pad_batch`; a test compares them. Resizing and reading images are left to whatever the device has.

    info = json.loads(session.get_modelmeta().custom_metadata_map["focalkit"])
    height, width = fit_size(*image.shape[:2], info)          # then resize: bilinear, with antialiasing
    batch = pad_batch([resized], info)                        # resized: uint8 (h, w, 3), RGB
    outputs = session.run(None, {"images": batch})
    boxes, scores, labels = postprocess(outputs, [resized.shape[:2]], info)[0]
"""

import numpy as np

MAX_LOG_SCALE = float(np.log(1000 / 16))
MAX_LOG_DISTANCE = float(np.log(1000))


def fit_size(height, width, info):
    """Height and width to resize an image to: short side `min_size`, unless the long one would pass `max_size`."""
    if info["resize"] == "square":
        return info["min_size"], info["min_size"]
    scale = min(info["min_size"] / min(height, width), info["max_size"] / max(height, width))
    whole = {"focalkit": round, "torchvision": int}.get(info["resize"], lambda side: int(side + 0.5))
    return max(1, whole(height * scale)), max(1, whole(width * scale))


def pad_batch(images, info, multiple=32):
    """uint8 (h, w, 3) images, RGB -> float32 (b, 3, H, W) in [0, 1], each in the upper left corner.

    Where the file has a fixed shape, the batch has it too; give no more images than it holds.
    """
    height, width = (-(-max(image.shape[axis] for image in images) // multiple) * multiple for axis in (0, 1))
    count, height, width = info.get("shape") or (len(images), height, width)
    batch = np.empty((count, 3, height, width), np.float32)
    batch[:] = np.asarray(info["pixel_mean"], np.float32)[:, None, None]
    for slot, image in zip(batch, images, strict=False):
        slot[:, : image.shape[0], : image.shape[1]] = image.transpose(2, 0, 1).astype(np.float32) / 255
    return batch


def postprocess(outputs, sizes, info, score_threshold=None):
    """Boxes, scores and labels per image, the best first, in pixels of the network's input.

    Args:
        outputs: The file's outputs in their order: logits of every level (b, a*k, h, w), then box outputs of every
            level (b, a*4 or a*4*bins, h, w), then, where the detector has it, quality of every level (b, a, h, w).
            Of a set predictor: logits (b, k, q, 1) and boxes (b, 4, q, 1).
        sizes: (height, width) of each image inside the batch, before padding; boxes are clipped to it.
        info: The file's metadata.
        score_threshold: Instead of the file's own; detections that score no more than this, before calibration, are
            dropped.

    Returns:
        Per image: float32 (d, 4) xyxy, float32 (d,), int64 (d,). Multiply the boxes by original / resized size.
    """
    levels = len(info["anchors"]["strides"])
    priors = anchors([level.shape[2:] for level in outputs[:levels]], info)
    threshold = info["score_threshold"] if score_threshold is None else score_threshold
    found = [
        _one_image([[level[i] for level in outputs[n::levels]] for n in range(levels)], priors, size, threshold, info)
        for i, size in enumerate(sizes)
    ]
    if info.get("calibration") is None:
        return found
    calibrated = []
    for (boxes, scores, labels), size in zip(found, sizes, strict=True):
        scores = calibrate(scores, labels, boxes, size, info["calibration"])
        order = np.argsort(-scores, kind="stable")
        calibrated.append((boxes[order], scores[order], labels[order]))
    return calibrated


def anchors(shapes, info):
    """Per level float32 (h*w*a, 4), xyxy, for feature maps of the given (height, width)."""
    grid, found = info["anchors"], []
    height, width = (side * grid["strides"][0] for side in shapes[0])  # of the batch: a multiple of 32
    for size, stride, (h, w) in zip(grid["sizes"], grid["strides"], shapes, strict=True):
        squares = [int(size * s) if grid["rounded"] else size * s for s in grid["scales"]]
        half = np.asarray([(s / np.sqrt(r), s * np.sqrt(r)) for r in grid["ratios"] for s in squares]) / 2
        base = np.concatenate([-half, half], 1)
        base = base.round() if grid["rounded"] else base
        dy, dx = (stride, stride) if grid["stride_from"] == "levels" else (height // h, width // w)
        x, y = (np.arange(w) + grid["offset"]) * dx, (np.arange(h) + grid["offset"]) * dy
        yy, xx = np.meshgrid(y, x, indexing="ij")
        centres = np.stack([xx, yy, xx, yy], -1).reshape(h * w, 1, 4)
        found.append((centres + base).reshape(-1, 4).astype(np.float32))
    return found


def decode(raw, priors, info):
    """Boxes (n, 4), xyxy, from box outputs (n, 4 or 4 * bins) and priors (n, 4)."""
    coder = info["coder"]
    size = priors[:, 2:] - priors[:, :2]
    middle = priors[:, :2] + size / 2
    if coder["kind"] == "deltas":  # (dx, dy, dw, dh) in sizes of the prior
        raw = raw / np.asarray(coder["weights"], np.float32)
        clamped = coder["clamp_dwdh_min"] if "clamp_dwdh_min" in coder else coder["bound_shrink"]  # as it was called
        least = -MAX_LOG_SCALE if clamped else -np.inf
        half = size * np.exp(np.clip(raw[:, 2:], np.float32(least), np.float32(MAX_LOG_SCALE))) / 2
        low, high = middle + raw[:, :2] * size - half, middle + raw[:, :2] * size + half
    elif coder["kind"] == "center_size":  # (dx, dy, w, h) in cells, from the cell's corner
        raw = raw / np.asarray(coder["weights"], np.float32)
        middle, half = priors[:, :2] + raw[:, :2] * size, np.clip(raw[:, 2:], 0, None) * size / 2
        low, high = middle - half, middle + half
    elif coder["kind"] == "pixels":  # a set predictor's boxes are decoded in the graph
        low, high = raw[:, :2], raw[:, 2:]
    else:  # left, top, right, bottom from the middle, in units
        if coder["kind"] == "distances":
            sides = np.exp(np.minimum(raw, np.float32(MAX_LOG_DISTANCE)))
        elif coder["kind"] == "plain_distances":
            sides = raw
        else:
            sides = _mean_position(raw.reshape(len(raw), 4, coder["bins"]))
        unit = size * np.float32(coder["unit"])
        low, high = middle - sides[:, :2] * unit, middle + sides[:, 2:] * unit
    return np.concatenate([low, high], 1)


def calibrate(scores, labels, boxes, size, calibration):
    """Calibrated scores of detections, as the file's metadata has them under "calibration"; order and boxes stay.

    Args:
        scores, labels, boxes: As `postprocess` finds them.
        size: (height, width) of the image that the boxes are in.
        calibration: `info["calibration"]`. Its "thresholds" are the calibrated scores per class worth keeping.
    """
    state = calibration["scores"]
    if state["method"] == "none":
        return scores
    p = scores.astype(np.float64)
    with np.errstate(divide="ignore"):
        u = np.clip(np.log(p) - np.log1p(-p), -36.04365338911715, 36.04365338911715)
    shares = np.asarray(boxes, np.float64) / np.asarray([size[1], size[0], size[1], size[0]])
    places = np.concatenate([(shares[:, :2] + shares[:, 2:]) / 2, shares[:, 2:] - shares[:, :2]], 1).clip(0, 1)
    found = _mapped(state["pooled"], p, u, places)
    for label, own in state["classes"].items():
        of = labels == int(label)
        found[of] = own["weight"] * _mapped(own, p[of], u[of], places[of]) + (1 - own["weight"]) * found[of]
    return found.clip(0, 1).astype(np.float32)


def _mapped(entry, p, u, places):
    kind = entry["map"]
    if kind == "isotonic":
        return (1 - 1e-4) * np.interp(p, entry["scores"], entry["probabilities"]) + 1e-4 * p
    if kind == "histogram":
        return np.asarray(entry["values"], np.float64)[np.searchsorted(entry["edges"][1:-1], p)]
    low, high = -np.logaddexp(0, -u), -np.logaddexp(0, u)  # log p, log(1 - p)
    if kind == "logistic":
        z = entry["slope"] * u + entry["intercept"]
    elif kind == "beta":
        z = entry["a"] * low - entry["b"] * high + entry["c"]
    elif kind == "box":
        moved = np.concatenate([places[:, :2] - 0.5, np.log(np.maximum(places[:, 2:], 1e-4))], 1)
        z = np.concatenate([u[:, None], moved, moved**2, np.ones((len(u), 1))], 1) @ np.asarray(entry["coefficients"])
    else:  # posterior
        gamma, alpha = entry["gamma"], entry["alpha"]
        r_p, r_q = -np.exp(low - high) * low, -np.exp(high - low) * high
        shift = 0.0 if alpha is None else np.log(alpha) - np.log1p(-alpha)
        z = (gamma + 1) * u + np.log1p(gamma * r_q) - np.log1p(gamma * r_p) - shift
    return 1 / (1 + np.exp(-z))


def nms_per_class(boxes, scores, labels, iou_threshold):
    """Rows that survive suppression within their class, the best score first."""
    order = np.argsort(-scores, kind="stable")
    exact = boxes.astype(np.float64)
    areas = (exact[:, 2] - exact[:, 0]) * (exact[:, 3] - exact[:, 1])
    kept = []
    while len(order):
        best, rest = order[0], order[1:]
        kept.append(best)
        low, high = np.maximum(exact[best, :2], exact[rest, :2]), np.minimum(exact[best, 2:], exact[rest, 2:])
        inside = np.clip(high - low, 0, None).prod(1)
        iou = inside / (areas[best] + areas[rest] - inside)
        order = rest[(iou <= iou_threshold) | (labels[rest] != labels[best])]
    return np.asarray(kept, np.int64)


def _one_image(levels, priors, size, threshold, info):
    classes = len(info["names"])
    least = _logit(threshold)
    boxes, scores, labels = [], [], []
    for (logits, raw, *quality), prior in zip(levels, priors, strict=True):
        if info["peak_window"] > 1:
            logits = _peaks(logits, info["peak_window"])
        flat = logits.transpose(1, 2, 0).reshape(-1)  # prior * classes + class
        # no quality above 1 can lift a class that scores less than the square
        keep = np.flatnonzero(flat > (_logit(threshold**2) if quality else least))
        values = flat[keep].astype(np.float32)
        if quality:
            values = _mean_logit(values, quality[0].transpose(1, 2, 0).reshape(-1)[keep // classes])
            keep, values = keep[values > least], values[values > least]
        if len(keep) > info["top_k"]:
            best = np.argpartition(-values, info["top_k"])[: info["top_k"]]
            keep, values = keep[best], values[best]
        row = keep // classes
        boxes.append(decode(raw.transpose(1, 2, 0).reshape(len(prior), -1)[row], prior[row], info))
        scores.append(1 / (1 + np.exp(-values)))
        labels.append(keep - row * classes)
    box, score, label = np.concatenate(boxes), np.concatenate(scores), np.concatenate(labels)
    if info["clip"] == "before_nms":
        box, score, label = _inside(box, score, label, size, info)
    kept = nms_per_class(box, score, label, info["iou_threshold"])[: info["max_detections"]]
    box, score, label = box[kept], score[kept], label[kept]
    return (box, score, label) if info["clip"] == "before_nms" else _inside(box, score, label, size, info)


def _inside(box, score, label, size, info):
    height, width = size
    box = np.clip(box, 0, np.asarray([width, height, width, height], np.float32))
    area = ((box[:, 2:] - box[:, :2]) > 0).all(1) | info["keep_empty"]
    return box[area], score[area], label[area]


def _logit(probability):
    with np.errstate(divide="ignore"):
        return np.log(probability) - np.log1p(-probability)


def _mean_logit(one, other):
    """The logit of the geometric mean of two probabilities given as logits."""
    log_mean = -(np.logaddexp(0, -one) + np.logaddexp(0, -other)) / 2
    with np.errstate(divide="ignore"):
        return log_mean - np.log(-np.expm1(log_mean))


def _mean_position(scores):
    """(..., bins) -> (...): the mean of the softmax over 0, 1, ..., bins - 1."""
    share = np.exp(scores - scores.max(-1, keepdims=True))
    return (share * np.arange(scores.shape[-1], dtype=np.float32)).sum(-1) / share.sum(-1)


def _peaks(logits, window):
    """(c, h, w) with minus infinity wherever a neighbour is higher."""
    around = ((0, 0), *((window // 2, window // 2),) * 2)
    padded = np.pad(logits, around, constant_values=-np.inf)
    highest = np.lib.stride_tricks.sliding_window_view(padded, (window, window), (1, 2)).max((-2, -1))
    return np.where(logits == highest, logits, np.float32(-np.inf))
