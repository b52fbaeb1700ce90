"""`focalkit losses`: the whole catalog, and one loss with what its docstring and signature say."""

import json

import pytest

from focalkit.cli import main
from focalkit.cli._formula import plain
from focalkit.losses import LOSSES


def test_the_table_has_a_line_for_every_loss(capsys: pytest.CaptureFixture[str]):
    assert main(["losses"]) == 0
    lines = capsys.readouterr().out.split("\n\n")[0].splitlines()
    assert [line.split()[0] for line in lines] == ["NAME", *LOSSES]


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_has_a_page_with_its_own_documentation(name: str, capsys: pytest.CaptureFixture[str]):
    assert main(["losses", name]) == 0
    out = capsys.readouterr().out
    spec = LOSSES[name]
    assert out.startswith(f"{name}(")
    assert spec.paper in out
    assert plain((spec.function or spec.module).__doc__ or "?").splitlines()[0].strip() in out


def test_the_page_shows_the_papers_parameters_with_their_defaults(capsys: pytest.CaptureFixture[str]):
    main(["losses", "focal"])
    head = capsys.readouterr().out.splitlines()[0]
    assert head.startswith("focal(alpha=0.25, gamma=2.0, ")
    assert "reduction" not in head


def test_json_is_one_object(capsys: pytest.CaptureFixture[str]):
    assert main(["losses", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert list(facts) == list(LOSSES)
    assert facts["focal"]["function"] == "focalkit.losses.sigmoid_focal_loss"
    assert facts["focal"]["defaults"]["gamma"] == "2.0"


def test_a_typo_names_the_nearest_loss(capsys: pytest.CaptureFixture[str]):
    assert main(["losses", "fokal"]) == 2
    assert "'fokal'; did you mean \"focal\"?" in capsys.readouterr().err


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_is_found_by_its_function_and_its_module(name: str, capsys: pytest.CaptureFixture[str]):
    spec = LOSSES[name]
    for known in (spec.function, spec.module):
        if known is not None:
            assert main(["losses", known.__name__]) == 0
            assert capsys.readouterr().out.startswith(f"{name}(")


@pytest.mark.parametrize(
    ("typo", "nearest"),
    [("SigmoidFocalLos", '"focal"'), ("sigmoid_focal_los", '"focal"'), ("dise", '"dice"'), ("DiceLos", '"dice"')],
)
def test_near_misses_are_named(typo: str, nearest: str, capsys: pytest.CaptureFixture[str]):
    assert main(["losses", typo]) == 2
    assert nearest in capsys.readouterr().err


@pytest.mark.parametrize("name", LOSSES)
def test_the_terminal_shows_no_latex(name: str, capsys: pytest.CaptureFixture[str]):
    main(["losses", name])
    out = capsys.readouterr().out
    assert not set("$\\{}") & set(out)


@pytest.mark.parametrize(
    ("latex", "shown"),
    [
        (r"a $FL(p_t) = -\alpha_t (1 - p_t)^\gamma \log p_t$ b", "a FL(p_t) = -alpha_t (1 - p_t)^gamma log p_t b"),
        (r"$1 - \frac{2 \sum p t + s}{n}$", "1 - (2 sum p t + s) / n"),
        (
            r"$$L_+ = x^{\gamma_{hc}}, \quad y_{c \ne y} \le \sqrt{d^2}$$",
            "L_+ = x^(gamma_hc);  y_(c != y) <= sqrt(d^2)",
        ),
        ("costs $5", "costs $5"),
    ],
)
def test_formulas_are_readable(latex: str, shown: str):
    assert plain(latex) == shown
