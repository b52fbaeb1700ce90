"""Whatever text or bytes come in, the answer is a value or a clear error, and never another exception."""

import gzip
import json
import string
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from focalkit._config_io import config_from_dict, load_config
from focalkit._runs import RunDir
from focalkit.data import open_detection_data
from focalkit.errors import FocalkitError
from focalkit.losses import build
from focalkit.tasks.tabular._read import read_frame

FEW = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def refusal(call: Callable[[], object], *more: type[Exception]) -> str | None:
    """What was said of bad input, None where there was nothing to say."""
    try:
        call()
    except (FocalkitError, *more) as error:
        return str(error)
    return None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
SPEC_TEXT = st.text(string.ascii_letters + string.digits + "()=,._-+ \"'[]:*", max_size=40)


@FEW
@given(SPEC_TEXT | st.builds("focal({}={})".format, st.sampled_from(["gamma", "alpha", "x"]), SPEC_TEXT))
@example("focal(gamma=2")
@example("focal(gamma=(1,2)[5])")
@example("focal(gamma=1e999)")
@example("focal(**{})")
@example("focal(gamma=" + "-" * 30 + "1)")
def test_a_spec_is_a_loss_or_a_clear_error(text):
    assert refusal(lambda: build(text), ValueError, TypeError) != ""


@FEW
@given(
    st.dictionaries(st.sampled_from(["epochs", "optim", "model", "data", "runtime", "loss", "zz"]), JSON, max_size=4)
)
def test_a_configuration_is_read_or_refused(values):
    assert "fuzz" in (refusal(lambda: config_from_dict(values, source="fuzz")) or "fuzz")


@FEW
@given(st.binary(max_size=80) | st.text(max_size=60).map(lambda t: t.encode("utf-8", "surrogatepass")))
def test_a_toml_file_is_read_or_refused(tmp_path, content):
    file = tmp_path / "c.toml"
    file.write_bytes(content)
    assert str(file) in (refusal(lambda: load_config(file)) or str(file))


CELLS = st.text(string.printable, max_size=6) | st.floats().map(str) | st.sampled_from(["", "NA", "1e400", '"', "01"])


@FEW
@given(st.lists(st.lists(CELLS, min_size=1, max_size=4).map(",".join), max_size=6).map("\n".join), st.booleans())
def test_a_table_is_read_or_refused(tmp_path, text, zipped):
    content = text.encode("utf-8", "surrogatepass")
    file = tmp_path / ("t.csv.gz" if zipped else "t.csv")
    file.write_bytes(gzip.compress(content) if zipped else content)
    assert file.name in (refusal(lambda: read_frame(file)) or file.name)


@FEW
@given(st.dictionaries(st.sampled_from(["images", "annotations", "categories"]), JSON, max_size=3))
def test_annotations_are_read_or_refused(tmp_path, values):
    folder = tmp_path / "annotations"
    folder.mkdir(exist_ok=True)
    for split in ("train", "val"):
        (folder / f"instances_{split}.json").write_text(json.dumps(values))
    with pytest.raises(FocalkitError, match=r"instances_train|images"):
        open_detection_data(tmp_path, "train")


@FEW
@given(JSON, st.binary(max_size=40))
def test_a_run_is_read_or_refused(tmp_path, record, lines):
    (tmp_path / "run.json").write_text(json.dumps(record))
    (tmp_path / "metrics.jsonl").write_bytes(lines)
    run = RunDir(tmp_path)
    for read in (run.read_config, run.read_categories, run.read_metrics):
        assert str(tmp_path) in (refusal(read) or str(tmp_path))
