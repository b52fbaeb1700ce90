"""`focalkit inspect` on a table and on images: the findings reach the terminal, the JSON and the exit status."""

import json

import numpy as np

from focalkit.cli import main


def table(tmp_path):
    generator = np.random.default_rng(0)
    rows = [f"{a:.3f},{b:.3f},7,{int(a > 1.3)}" for a, b in generator.normal(size=(300, 2))]
    file = tmp_path / "data.csv"
    file.write_text("\n".join(["a,b,same,target", *rows, *rows[:5]]) + "\n")
    return file


def test_a_table_is_looked_at_with_numbered_findings(tmp_path, capsys):
    assert main(["inspect", str(table(tmp_path)), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    codes = {f["code"]: f["values"] for f in found["findings"]}
    assert found["task"] == "tabular"
    assert codes["FK111"]["copies"] == 5
    assert codes["FK115"]["columns"] == ["same"]
    assert list(codes["FK116"]["columns"]) == ["a"]


def test_the_terminal_names_number_title_and_what_to_do(tmp_path, capsys):
    assert main(["inspect", str(table(tmp_path)), "--no-labels"]) == 0
    text = capsys.readouterr().out
    assert "FK115" in text
    assert "A column is constant" in text
    assert "Leave it out." in text


def test_test_images_that_were_trained_on_are_an_error(tmp_path, capsys):
    images = np.random.default_rng(0).integers(0, 256, (24, 8, 8, 3), dtype=np.uint8)
    labels = np.arange(24) % 2
    np.savez(tmp_path / "train.npz", images=images[:16], labels=labels[:16])
    np.savez(tmp_path / "test.npz", images=images[12:], labels=labels[12:])
    assert main(["inspect", str(tmp_path), "--json", "--no-labels"]) == 2
    found = {f["code"]: f["values"] for f in json.loads(capsys.readouterr().out)["findings"]}
    assert found["FK113"] == {"split": "test", "shared": 4, "items": 12}
