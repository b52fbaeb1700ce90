"""The examples of the page and of the docstrings run, and say what they say."""

import doctest
import importlib
from pathlib import Path

import pytest
import torch

from focalkit.kernels import dispatch, fuse

fuse_module = importlib.import_module("focalkit.kernels.fuse")

PAGE = Path(__file__).parents[3] / "docs" / "kernels.md"


@pytest.fixture(autouse=True)
def usual(monkeypatch):
    monkeypatch.setattr(dispatch, "SMALL", 2**14)


def test_the_page():
    text = PAGE.read_text(encoding="utf-8").replace("```", "\n```")
    prose = "\n".join("" if line.startswith("```") else line for line in text.splitlines())
    examples = doctest.DocTestParser().get_doctest(prose, {}, "kernels.md", str(PAGE), 0)
    assert len(examples.examples) > 5
    assert doctest.DocTestRunner().run(examples).failed == 0


@pytest.mark.parametrize("module", [dispatch, fuse_module])
def test_the_docstrings(module):
    result = doctest.testmod(module, extraglobs={"torch": torch})
    assert result.attempted
    assert not result.failed


@pytest.mark.usefixtures("no_compiler")
def test_the_example_matches_autograd(monkeypatch):
    monkeypatch.setattr(dispatch, "SMALL", 1)

    def squared_hinge(logits, targets, margin=1.0):
        return (margin - (2 * targets - 1) * logits).clamp(min=0) ** 2

    x, t = torch.randn(300, 20, dtype=torch.float64, requires_grad=True), (torch.rand(300, 20) > 0.5).double()
    for arguments in ({}, {"margin": 0.3}, {"margin": torch.linspace(0, 1, 20, dtype=torch.float64)}):
        fused, plain = fuse(squared_hinge)(x, t, **arguments), squared_hinge(x, t, **arguments).sum()
        torch.testing.assert_close(fused, plain)
        torch.testing.assert_close(torch.autograd.grad(fused, x), torch.autograd.grad(plain, x))


def test_maths_that_does_not_give_one_loss_per_logit_is_refused():
    with pytest.raises(ValueError, match="must give one loss per logit"):
        fuse(lambda x, t: (x - t).sum())(torch.zeros(3), torch.zeros(3))
    with pytest.raises(ValueError, match=r"\(2, 3\), and gave \(2,\); maths of whole rows, such as a softmax"):
        fuse(lambda x, t: (t * x.log_softmax(-1)).sum(-1))(torch.zeros(2, 3), torch.zeros(2, 3))
    with pytest.raises(ValueError, match="do not broadcast"):
        fuse(lambda x, t: x - t)(torch.zeros(3), torch.zeros(2, 3))


def test_the_table_of_backends_is_current(monkeypatch):
    monkeypatch.syspath_prepend(str(PAGE.parents[1] / "scripts"))
    table = importlib.import_module("backends_table")
    assert table.page() == PAGE.read_text(encoding="utf-8"), "python scripts/backends_table.py --write"
