r"""Elementwise maths on signed logits, exact in every corner that training reaches.

The signed logit is u = logit where the target is 1 and -logit where it is 0, so that

    p_t = sigmoid(u)      1 - p_t = sigmoid(-u)      log p_t = logsigmoid(u)      log(1 - p_t) = logsigmoid(-u)

A softmax has one too: u_y = x_y - logsumexp of the others, p_y = sigmoid(u_y) (`label_logit`, `one_vs_rest`), so that
one function serves both. Nothing here subtracts a probability from one, adds an epsilon or clips a probability.

What this file does not do: reductions, weights, targets (`_reduce.py`, `losses/_sigmoid.py`, `losses/_softmax.py`).
"""

import inspect
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def computed_in(x: Tensor) -> torch.dtype:
    """float32 for float16 and bfloat16; float32 and float64 stay."""
    return torch.float32 if x.dtype in (torch.float16, torch.bfloat16) else x.dtype


def upcast(x: Tensor) -> Tensor:
    """In the dtype that losses are computed in. The gradient returns in the input's dtype."""
    return x.to(computed_in(x))


def finite(x: Tensor) -> Tensor:
    """Clamps to a thousandth of the dtype's range, infinities included; the gradient beyond is 0. NaN stays NaN.

    The headroom keeps products with gamma, and small sums, from overflowing.
    """
    bound = largest(x.dtype)
    return x.clamp(-bound, bound)


def largest(dtype: torch.dtype) -> float:
    """The bound of `finite`."""
    return torch.finfo(dtype).max / 1024


def softplus(x: Tensor) -> Tensor:
    """log(1 + e^x) = -log sigmoid(-x), without the threshold of `F.softplus` that costs float64 its digits."""
    return -F.logsigmoid(-x)


def safe_pow(base: Tensor, exponent: float | Tensor) -> Tensor:
    """base ** exponent for base >= 0, with a finite gradient at 0 also for exponents between 0 and 1."""
    return base.clamp(min=torch.finfo(base.dtype).tiny) ** exponent


def modulator(u: Tensor, gamma: float | Tensor) -> Tensor:
    """(1 - p_t) ** gamma at the signed logit u. 1 - p_t is sigmoid(-u): exact where p_t rounds to 1."""
    return safe_pow(torch.sigmoid(-u), gamma)


def _focal_and_gradient(u: Tensor, gamma: float | Tensor) -> tuple[Tensor, Tensor]:
    """The focal term and d/du = (1 - p)^gamma (gamma p log p - (1 - p)), finite also for 0 < gamma < 1."""
    u = finite(u)
    # from 40 on softplus is linear to the last digit of float64
    q, nll = torch.sigmoid(-u), F.softplus(-u, 1.0, 40.0)
    factor = q**gamma
    # subtle: 1 - q would do where p is not tiny; where it is, its error times -log p is several epsilon of q
    p = torch.sigmoid(u)
    inner = q + gamma * p * nll if isinstance(gamma, Tensor) else torch.addcmul(q, p, nll, value=gamma)
    return factor * nll, -(factor * inner)


class _FocalTerm(torch.autograd.Function):
    """The focal term with its closed-form derivative, computed in the same pass."""

    generate_vmap_rule = True

    @staticmethod
    def forward(u: Tensor, gamma: float | Tensor) -> tuple[Tensor, Tensor]:
        return _focal_and_gradient(u, gamma)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, float | Tensor], output: tuple[Tensor, Tensor]) -> None:
        u, gamma = inputs
        ctx.mark_non_differentiable(output[1])
        ctx.set_materialize_grads(False)
        ctx.gamma = None if isinstance(gamma, Tensor) else gamma
        ctx.save_for_backward(u, output[1], *([gamma] if isinstance(gamma, Tensor) else []))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
        u, gradient, *exponent = ctx.saved_tensors  # subtle: once, which is all that activation checkpointing allows
        gamma = exponent[0] if exponent else ctx.gamma
        if grads[0] is None:
            return None, None
        if torch.is_grad_enabled():  # someone wants to differentiate the gradient
            gradient = _focal_and_gradient(u, gamma)[1]
        by_gamma = None
        if ctx.needs_input_grad[1]:
            # d/dgamma = term * log(1 - p); the bound only meets terms that are 0.
            by_gamma = grads[0] * _focal_and_gradient(u, gamma)[0] * F.logsigmoid(-u).clamp(min=-1e4)
        return grads[0] * gradient, by_gamma


# subtle: PyTorch binds the arguments of every call by this signature, and would work it out anew each time
_FocalTerm.forward.__signature__ = inspect.signature(_FocalTerm.forward)  # pyright: ignore[reportFunctionMemberAccess]


def focal_term(u: Tensor, gamma: float | Tensor) -> Tensor:
    r"""-(1 - p_t)^gamma log p_t at the signed logit u (Lin et al., 2017, eq. 4).

    Finite in value and gradient for every u and every gamma >= 0; can be differentiated twice, in every mode.
    At u = -inf the value is a very large finite number (`finite`).
    """
    if torch.autograd.forward_ad._current_level >= 0:  # subtle: a jvp of `_FocalTerm` would be lost in nested ones
        u = finite(u)
        return modulator(u, gamma) * softplus(-u)
    if isinstance(gamma, Tensor):
        u, gamma = torch.broadcast_tensors(u, gamma)
    outputs: Any = _FocalTerm.apply(u, gamma)
    return outputs[0]


def label_logit(logits: Tensor, labels: Tensor, dim: int) -> Tensor:
    """u = x_y - logsumexp_{j != y} x_j, the signed logit of a softmax at its label: p_y = sigmoid(u).

    `labels` have the class axis missing and lie in 0..K-1. The result has the shape of `labels`.
    """
    index = labels.unsqueeze(dim)
    of_label = logits.gather(dim, index).squeeze(dim)
    # subtle: dropping the label before the sum is what keeps log(1 - p_y) exact where p_y rounds to 1.
    others = finite(logits).scatter(dim, index, torch.finfo(logits.dtype).min / 2).logsumexp(dim)
    return finite(of_label - others)


def one_vs_rest(logits: Tensor, dim: int) -> Tensor:
    """u_c = x_c - logsumexp_{j != c} x_j for every class c: p_c = sigmoid(u_c), shaped like `logits`."""
    logits = finite(logits)
    top = logits.argmax(dim)
    is_top = torch.zeros_like(logits, dtype=torch.bool).scatter(dim, top.unsqueeze(dim), True)
    # subtle: only the largest class can have p_c near 1; for the others p_c <= 1/2 and log(1 - p_c) is harmless.
    log_p = torch.where(is_top, -1.0, logits.log_softmax(dim))
    rest = log_p - torch.log(-torch.expm1(log_p))
    return finite(torch.where(is_top, label_logit(logits, top, dim).unsqueeze(dim), rest))
