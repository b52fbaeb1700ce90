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


def fit_size(height, width, info):
    """Height and width to resize an image to: short side `min_size`, unless the long one would pass `max_size`."""
    scale = min(info["min_size"] / min(height, width), info["max_size"] / max(height, width))
    whole = {"focalkit": round, "torchvision": int}.get(info["resize"], lambda side: int(side + 0.5))
    return max(1, whole(height * scale)), max(1, whole(width * scale))


def pad_batch(images, info, multiple=32):
    """uint8 (h, w, 3) images, RGB -> float32 (b, 3, H, W) in [0, 1], each in the upper left corner."""
    height, width = (-(-max(image.shape[axis] for image in images) // multiple) * multiple for axis in (0, 1))
    batch = np.empty((len(images), 3, height, width), np.float32)
    batch[:] = np.asarray(info["pixel_mean"], np.float32)[:, None, None]
    for slot, image in zip(batch, images, strict=True):
        slot[:, : image.shape[0], : image.shape[1]] = image.transpose(2, 0, 1).astype(np.float32) / 255
    return batch


def postprocess(outputs, sizes, info, score_threshold=None):
    """Boxes, scores and labels per image, the best first, in pixels of the network's input.

    Args:
        outputs: The file's outputs in their order: logits of every level (b, a*k, h, w), then deltas (b, a*4, h, w).
        sizes: (height, width) of each image inside the batch, before padding; boxes are clipped to it.
        info: The file's metadata.
        score_threshold: Instead of the file's own; detections that score no more than this are dropped.

    Returns:
        Per image: float32 (d, 4) xyxy, float32 (d,), int64 (d,). Multiply the boxes by original / resized size.
    """
    levels = len(outputs) // 2
    logits, deltas = outputs[:levels], outputs[levels:]
    priors = anchors([level.shape[2:] for level in logits], info)
    threshold = info["score_threshold"] if score_threshold is None else score_threshold
    with np.errstate(divide="ignore"):
        least = np.log(threshold) - np.log1p(-threshold)
    return [
        _one_image([level[i] for level in logits], [level[i] for level in deltas], priors, size, least, info)
        for i, size in enumerate(sizes)
    ]


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


def decode(deltas, priors, info):
    """Boxes (n, 4), xyxy, from deltas (n, 4) = (dx, dy, dw, dh) and priors (n, 4)."""
    deltas = deltas / np.asarray(info["coder"]["weights"], np.float32)
    least = -MAX_LOG_SCALE if info["coder"]["bound_shrink"] else -np.inf
    size = priors[:, 2:] - priors[:, :2]
    centre = priors[:, :2] + size / 2 + deltas[:, :2] * size
    half = size * np.exp(np.clip(deltas[:, 2:], np.float32(least), np.float32(MAX_LOG_SCALE))) / 2
    return np.concatenate([centre - half, centre + half], 1)


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


def _one_image(logits, deltas, priors, size, least, info):
    classes = len(info["names"])
    boxes, scores, labels = [], [], []
    for level, moves, prior in zip(logits, deltas, priors, strict=True):
        flat = level.transpose(1, 2, 0).reshape(-1)  # prior * classes + class
        keep = np.flatnonzero(flat > least)
        if len(keep) > info["top_k"]:
            keep = keep[np.argpartition(-flat[keep], info["top_k"])[: info["top_k"]]]
        row = keep // classes
        boxes.append(decode(moves.transpose(1, 2, 0).reshape(-1, 4)[row], prior[row], info))
        scores.append(1 / (1 + np.exp(-flat[keep].astype(np.float32))))
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
