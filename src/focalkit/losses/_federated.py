"""Federated loss (Zhou et al., 2021, arXiv 2103.07461, sec. 5.1): negatives of some classes only, for long tails."""

import inspect
from typing import Any

import torch
from torch import Tensor, nn

from ._base import Loss
from ._checks import ignored_value, is_dense


class FederatedLoss(Loss):
    """Judges each batch on its own classes and some others, drawn anew; the rest of the classes count as absent.

    A class that few images show is a negative nearly everywhere. It is one less often here, and so it is where not
    every image was searched for every class (LVIS). Others are drawn without replacement, in proportion to
    frequency^power, until there are `classes`. In evaluation mode all classes count.

    Args:
        loss: A loss of independent sigmoids that takes `class_weight`.
        frequency: (k,), such as the share of the images that show each class.
        classes: So many classes count, or more where the batch shows more.
        power: 1/2 in the authors' code, which draws 50 of LVIS's 1,203 classes.

    Raises:
        ValueError: A frequency that is negative or not finite; no classes; a loss without `class_weight`.

    Example:
        >>> from focalkit.losses import BinaryCrossEntropy
        >>> loss = FederatedLoss(BinaryCrossEntropy(reduction="sum"), frequency=[0.5, 0.1, 0.1], classes=1)
        >>> loss(torch.zeros(1, 3), torch.tensor([0]))      # of the classes the first alone
        tensor(0.6931)
    """

    elementwise = False
    frequency: Tensor

    def __init__(self, loss: nn.Module, frequency: Any, classes: int = 50, power: float = 0.5) -> None:
        super().__init__()
        shares = torch.as_tensor(frequency, dtype=torch.float32)
        if shares.ndim != 1 or not bool((torch.isfinite(shares) & (shares >= 0)).all()):
            raise ValueError(f"frequency is a vector over the classes, numbers of at least 0, got {frequency!r:.200}")
        if classes < 1 or power < 0:
            raise ValueError(f"expected at least one class and a power of at least 0, got {classes} and {power}")
        if "class_weight" not in inspect.signature(type(loss)).parameters:
            raise ValueError(f"{type(loss).__name__} takes no class_weight, by which classes are left out")
        self.loss, self.classes, self.power = loss, classes, power
        self.register_buffer("frequency", shares)

    def forward(self, logits: Tensor, targets: Tensor, **call: Any) -> Tensor:
        """As the loss inside; its own class weights, and those of the call, keep their effect."""
        if not self.training:
            return self.loss(logits, targets, **call)
        weight = call.pop("class_weight", getattr(self.loss, "class_weight", None))
        dim = call.get("class_dim", getattr(self.loss, "class_dim", 1))
        counted = self.counted(logits, targets, dim, call.get("ignore_index", getattr(self.loss, "ignore_index", -100)))
        weight = counted if weight is None else counted * torch.as_tensor(weight, device=counted.device)
        return self.loss(logits, targets, class_weight=weight, **call)

    @torch.no_grad()
    def counted(self, logits: Tensor, targets: Tensor, class_dim: int = 1, ignore_index: int | None = -100) -> Tensor:
        """1 for the classes that count, 0 for the others: float32 (k,). Ignored targets show no class."""
        k = logits.shape[class_dim]
        if len(self.frequency) != k:
            raise ValueError(f"frequency is of {len(self.frequency)} classes, the logits are of {k}")
        ignored = ignored_value(ignore_index)
        if is_dense(logits, targets, class_dim, "FederatedLoss"):
            shown = ((targets > 0) & (targets != ignored)).movedim(class_dim, -1).flatten(0, -2).any(dim=0)
        else:
            labels = targets.flatten().long()  # those that are no class are the loss's to judge
            labels = torch.where((labels >= 0) & (labels < k) & (labels != ignored), labels, -1)
            shown = torch.zeros(k + 1, dtype=torch.bool, device=logits.device).index_fill(0, labels + 1, True)[1:]
        # the largest of log(chance) + Gumbel noise are a draw without replacement, and no count reaches the host
        chance = self.power * self.frequency.clamp(min=1e-12).log()
        noise = -torch.empty_like(chance).exponential_().log()
        rank = torch.where(shown, torch.inf, chance + noise).argsort(descending=True).argsort()
        return (shown | (rank < self.classes)).float()

    def extra_repr(self) -> str:
        return f"classes={self.classes}, power={self.power}"
