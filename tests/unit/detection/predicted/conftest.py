"""Random predictions of a point detector on two levels, and truths beside them."""

import torch

from focalkit.detection import DenseOutputs, DetectionTarget, DistanceCoder, PointGrid

K = 3
SIDE = 64
CODER = DistanceCoder()


def outputs(b=1, seed=0, quality=False):
    rng = torch.Generator().manual_seed(seed)
    shapes = [(SIDE // 8, SIDE // 8), (SIDE // 16, SIDE // 16)]

    def maps(channels, scale):
        return tuple(torch.randn(b, channels, *shape, generator=rng) * scale for shape in shapes)

    return DenseOutputs(maps(K, 2.0), maps(4, 0.7), PointGrid((8, 16))(shapes), K, maps(1, 1.0) if quality else None)


def truth(m=6, seed=1, image_id=0):
    rng = torch.Generator().manual_seed(seed)
    size = torch.rand(m, 2, generator=rng) * 30 + 6
    corner = torch.rand(m, 2, generator=rng) * (SIDE - size)
    labels = torch.randint(0, K, (m,), generator=rng)
    return DetectionTarget(torch.cat([corner, corner + size], dim=1), labels, image_id=image_id)


def flat(out, i=0):
    """Logits (n, k), decoded boxes (n, 4), centres (n, 2) and strides (n,) of an image, as lists of numbers."""
    logits = torch.cat([x[i].permute(1, 2, 0).reshape(-1, K) for x in out.logits])
    deltas = torch.cat([x[i].permute(1, 2, 0).reshape(-1, 4) for x in out.deltas])
    priors = torch.cat(out.priors)
    boxes = CODER.decode(deltas, priors)
    centres = (priors[:, :2] + priors[:, 2:]) / 2
    return logits.double().tolist(), boxes.tolist(), centres.tolist(), (priors[:, 2] - priors[:, 0]).tolist()


def iou(a, b):
    w = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    h = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - w * h
    return w * h / union if union else 0.0


def within(point, box, margin=0.0):
    x, y = point
    return min(x - box[0], y - box[1], box[2] - x, box[3] - y) > margin
