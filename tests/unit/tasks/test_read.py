"""Reading tables: what is found, and what is said about what cannot be used."""

import gzip
from pathlib import Path

import numpy as np
import polars
import pytest

from focalkit.cli import main
from focalkit.compare import METHODS
from focalkit.compare.plan import check_continues, plan_from_dict, plan_to_dict
from focalkit.compare.run import make_plan
from focalkit.errors import ConfigError, DataError, InputError
from focalkit.tasks import Budget, Source, find_task, open_task
from focalkit.tasks.tabular._columns import rows_of
from focalkit.tasks.tabular._fitted import frame_of
from focalkit.tasks.tabular._read import files_of, read_frame

TABLES = open_task("tabular")


def read(path: Path, seed: int = 0, **source):
    return TABLES.read(Source(path, **source), seed)


def table(tmp_path: Path, text: str, name: str = "table.csv") -> Path:
    file = tmp_path / name
    file.write_text(text)
    return file


def rows(n: int, line) -> str:
    return "\n".join(line(i) for i in range(n)) + "\n"


def test_no_model_sees_or_needs_a_column_that_is_left_out(csv: Path, frame: polars.DataFrame, tmp_path: Path):
    splits = read(csv, leave_out=("customer", "kind"))
    assert splits.facts["columns"] == {"number": ["amount", "age"], "category": [], "date": ["day"]}
    fitted = TABLES.fit(METHODS["logistic"], splits, Budget(), 0, tmp_path)
    fitted.save(tmp_path)
    model = TABLES.load(tmp_path)
    np.testing.assert_array_equal(model.predict(frame.drop("customer", "kind")).logits, model.predict(frame).logits)
    names = {f.code: f.values.get("columns") for f in TABLES.inspect(Source(csv, leave_out=("age",)), False).findings}
    assert "age" not in names.get("FK114", {})


def test_a_column_to_leave_out_must_be_there_and_be_a_feature(csv: Path):
    with pytest.raises(DataError, match=r"no column 'custmer' to leave out.*did you mean .customer."):
        read(csv, leave_out=("custmer",))
    with pytest.raises(DataError, match="'outcome' is the target or the group"):
        read(csv, leave_out=("outcome",))


def test_columns_left_out_are_in_the_plan_and_make_another_comparison(csv: Path):
    plain, less = (
        make_plan(csv, ["ce"], task=None, seeds=1, tune=0, yardstick="ce", metric=None, rope=None, target=None,
                  group=None, budget=None, strict=False, leave_out=names)[0]
        for names in ((), ("customer",))
    )  # fmt: skip
    assert plan_from_dict(plan_to_dict(less), "plan.json").source.leave_out == ("customer",)
    assert check_continues(less, less, csv) is less
    with pytest.raises(ConfigError, match="columns left out"):
        check_continues(plain, less, csv)


def test_what_may_be_wrong_with_a_table_is_said_before_anything_runs(csv: Path, tmp_path: Path, capsys):
    numbered = csv.read_text().splitlines()
    file = table(tmp_path, "\n".join(f"{'id' if not i else i + 600},{line}" for i, line in enumerate(numbered)) + "\n")
    words = ["compare", str(file), "--out", str(tmp_path / "out"), "--methods", "ce", "--dry-run"]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "data: FK117 A column looks like an identifier: 'id'" in said
    assert "--leave-out" in said
    assert main([*words, "--leave-out", "id", "--group", "customer"]) == 0
    said = capsys.readouterr().out
    assert "without 'id'" in said
    assert "'id'. Leave" not in said


def test_a_finding_names_the_texts_that_were_read_as_missing(tmp_path: Path):
    texts = {0: "NA", 1: "NA", 2: "?", 3: ""}
    file = table(
        tmp_path, '"x";kind;target\n' + rows(60, lambda i: f"{texts.get(i, i / 7)};{'ab'[i % 2]};{i % 3 // 2}")
    )
    found = next(f for f in TABLES.inspect(Source(file), labels=False).findings if f.code == "FK114")
    assert found.seen == "4 values in 1 of 2 columns; most in 'x' (6.7%); read as missing: 'NA' (2), '?' (1)"
    assert found.values == {"columns": {"x": 4}, "spellings": {"NA": 2, "?": 1}}


def test_a_folder_is_no_table_to_predict(tmp_path: Path):
    with pytest.raises(DataError, match=r"is a folder; expected one table that ends in \.csv"):
        frame_of(tmp_path)


def test_every_kind_of_column_is_recognised(csv: Path):
    splits = read(csv)
    assert splits.facts["columns"] == {"number": ["amount", "age", "customer"], "category": ["kind"], "date": ["day"]}
    assert splits.classes == ("good", "bad")
    assert splits.facts["target"] == "outcome"
    said = " ".join(splits.notes)
    assert "'country' is constant" in said
    assert "'name' has 400 different texts" in said
    assert splits.facts["missing_numbers"] == 45


@pytest.mark.parametrize("name", ["table.csv", "table.csv.gz", "table.tsv", "table.parquet", "semicolons.csv"])
def test_formats_say_the_same(frame: polars.DataFrame, csv: Path, tmp_path: Path, name: str):
    file = tmp_path / name
    if name.endswith(".parquet"):
        frame.with_columns(polars.col("day").str.to_date()).write_parquet(file)
    elif name.endswith(".gz"):
        file.write_bytes(gzip.compress(csv.read_bytes()))
    else:
        frame.write_csv(file, separator="\t" if name.endswith(".tsv") else ";")
    ours, usual = read(file), read(csv)
    np.testing.assert_array_equal(ours.train.rows.numbers, usual.train.rows.numbers)
    np.testing.assert_array_equal(ours.train.rows.codes, usual.train.rows.codes)
    np.testing.assert_array_equal(ours.test.labels, usual.test.labels)


def test_arrays_are_a_table(tmp_path: Path):
    file = tmp_path / "arrays.npz"
    random = np.random.default_rng(0)
    np.savez(file, X=random.normal(size=(60, 3)), y=np.arange(60) % 3 == 0)
    splits = read(file)
    assert splits.facts["columns"]["number"] == ["x0", "x1", "x2"]
    assert splits.class_counts[1] < splits.class_counts[0]


def test_equal_rows_and_groups_stay_on_one_side(frame: polars.DataFrame, tmp_path: Path):
    twice = polars.concat([frame, frame.sample(150, seed=2)])
    file = tmp_path / "twice.csv"
    twice.write_csv(file)
    for seed in range(5):
        splits = read(file, seed)
        parts = [set(p.groups.tolist()) for p in (splits.train, splits.val, splits.test)]
        assert not (parts[0] & parts[1])
        assert not (parts[0] & parts[2])
        assert not (parts[1] & parts[2])
        assert splits.facts["duplicate_rows"] == 150
    assert any("150 of 550 rows have the same features as an earlier row" in note for note in splits.notes)
    splits = read(file, group="customer")
    customers = twice["customer"].to_numpy()
    parts = [set(customers[p.ids].tolist()) for p in (splits.train, splits.val, splits.test)]
    assert not (parts[0] & parts[1])
    assert not (parts[0] & parts[2])
    assert not (parts[1] & parts[2])


def test_five_seeds_test_on_every_row_once(csv: Path):
    tests = np.concatenate([read(csv, seed).test.ids for seed in range(5)])
    assert sorted(tests.tolist()) == list(range(400))
    for seed in range(5):
        splits = read(csv, seed)
        assert [int(p.labels.sum()) for p in (splits.test, splits.val)] == [12, 10]
        assert sum(splits.sizes.values()) == 400


def test_a_row_that_is_there_a_thousand_times_fills_no_fold(tmp_path: Path):
    text = rows(1000, lambda i: "0,0,0") + rows(300, lambda i: f"{i},{i * i},{int(i % 10 == 0)}")
    file = table(tmp_path, "x,y,target\n" + text)
    for seed in range(5):
        splits = read(file, seed)
        for part, most in ((splits.test, 61), (splits.val, 50)):
            different = len(set(part.groups.tolist()))
            assert most - 4 <= different <= most
            assert part.labels.sum() >= 4


def test_a_folder_keeps_its_own_split(frame: polars.DataFrame, tmp_path: Path):
    frame[:300].write_csv(tmp_path / "train.csv")
    frame[290:].write_csv(tmp_path / "test.csv")
    splits = read(tmp_path)
    assert splits.sizes == {"train": 240, "val": 60, "test": 110}
    assert any("10 test rows are also rows of the training" in note for note in splits.notes)
    np.testing.assert_array_equal(read(tmp_path, 3).test.ids, splits.test.ids)


def test_codes_of_new_rows_are_texts_where_training_saw_texts(tmp_path: Path):
    """Of "01" alone a reader would make the number 1, which no category of training is."""
    kinds = ["01", "02", "A1"]
    text = "kind,flag,x,target\n" + rows(
        60, lambda i: f"{kinds[i % 3]},{str(i % 2 == 0).lower()},{i},{int(i % 3 == 0)}"
    )
    splits = read(table(tmp_path, text))
    fitted = TABLES.fit(METHODS["hist_gb"], splits, Budget(), 0, tmp_path)
    new = table(tmp_path, "kind,flag,x\n01,True,3\n02,FALSE,4\n", "new.csv")
    column = read_frame(new, ["kind", "flag"])
    codes = rows_of(column, splits.train.schema, new).codes
    assert codes.min() >= 1
    p = fitted.model.predict(new).probabilities
    same = polars.DataFrame({"kind": ["01", "02"], "flag": ["true", "false"], "x": [3, 4]})
    np.testing.assert_array_equal(p, fitted.model.predict(same).probabilities)


def test_parts_agree_on_what_holds_texts(tmp_path: Path):
    kinds = {"train": ["01", "A1"], "test": ["01", "02"]}
    for part, of in kinds.items():
        empty = "" if part == "test" else "1.5"
        text = "kind,x,target\n" + rows(40, lambda i, of=of, e=empty: f"{of[i % 2]},{e},{i // 2 % 2}")
        table(tmp_path, text.replace(",1.5,", ",2.5,", 3), f"{part}.csv")
    splits = read(tmp_path)
    assert splits.facts["columns"] == {"number": ["x"], "category": ["kind"], "date": []}
    assert set(splits.train.schema[0].levels) == {"01", "A1", "02"}
    assert splits.test.rows.codes.min() >= 1


def test_infinite_values_count_as_missing(tmp_path: Path):
    file = table(tmp_path, "x,y,target\n" + rows(60, lambda i: f"{'inf' if i == 7 else i},{i * i},{i % 4 == 0}"))
    splits = read(file)
    assert any("'x' has 1 infinite value" in note for note in splits.notes)
    every = np.concatenate([p.rows.numbers for p in (splits.train, splits.val, splits.test)])
    assert np.isnan(every).sum() == 1
    assert not np.isinf(every).any()


def test_rows_without_a_target_are_left_out(tmp_path: Path):
    file = table(tmp_path, "x,target\n" + rows(60, lambda i: f"{i},{'' if i < 5 else i % 3 == 0}"))
    splits = read(file)
    assert sum(splits.sizes.values()) == 55
    assert "5 rows without a value of 'target' were left out" in splits.notes


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("x,target\n", "no rows"),
        (rows(20, lambda i: f"{i}.5,{i},{i % 2}"), "has no header: the first line holds numbers"),
        ('"a, USD","a, USD",target\n' + rows(20, lambda i: f"{i},{i},{i % 2}"), "two columns are named 'a, USD'"),
        ("x,x,target\n" + rows(20, lambda i: f"{i},{i},{i % 2}"), "two columns are named 'x'"),
        ("x,target\n" + rows(20, lambda i: f"{i},1"), "holds 1 only; at least two classes"),
        ("x,target\n" + rows(200, lambda i: f"{i},{i * 0.37}"), "200 different values and looks like a quantity"),
        ("x,target\n" + rows(20, lambda i: f"{i},{int(i == 3)}"), "class '1' has 1 different row; at least 5"),
        (
            "x,target\n" + rows(40, lambda i: f"{i % 3 if i < 20 else i},{int(i < 20)}"),
            "class '1' has 3 different rows",
        ),
        ("x,target\n" + rows(20, lambda i: f"1,{i % 2}"), "no column is left to predict from"),
        ("a,b,c\n" + rows(40, lambda i: f"{i % 2},{i},{i * 2}"), "say --target; columns with few different values: a"),
        ("x,label,target\n" + rows(40, lambda i: f"{i},{i % 2},{i % 3}"), "label and target could be the target"),
        ("a,b\n1,2\n3,4,5\n", "cannot be read as a table"),
    ],
)
def test_what_cannot_be_used_is_said(tmp_path: Path, text: str, message: str):
    with pytest.raises(DataError, match=message):
        read(table(tmp_path, text))


def test_a_column_that_is_not_there_is_named(csv: Path):
    with pytest.raises(DataError, match="no column 'outcom' for the target; did you mean \"outcome\""):
        read(csv, target="outcom")
    with pytest.raises(DataError, match="no column 'patient' to group by"):
        read(csv, group="patient")


def test_broken_files_are_named(tmp_path: Path):
    for name in ("table.csv.gz", "table.parquet", "table.npz"):
        with pytest.raises(DataError, match=f"{name}.*\n.*cannot be read"):
            read(table(tmp_path, "no such format", name))
    with pytest.raises(InputError, match="ends in"):
        read(table(tmp_path, "", "table.xlsx"))


def test_the_task_is_found_by_looking(csv: Path, tmp_path: Path):
    assert find_task(csv) == "tabular"
    with pytest.raises(InputError, match="no such file"):
        find_task(tmp_path / "nothing.csv")
    (tmp_path / "odd.xyz").write_text("")
    with pytest.raises(InputError, match="no task recognises"):
        find_task(tmp_path / "odd.xyz")


def test_the_shared_table_of_mammograms_holds_its_copies(shared: Path):
    splits = read(shared / "data" / "tabular" / "mammography.csv.gz")
    assert splits.facts["duplicate_rows"] == 3335
    assert sum(splits.sizes.values()) == 11183


def test_numbers_and_dates_of_other_countries_are_read_as_such(tmp_path: Path):
    line = lambda i: f"1.{i % 10}00,{i % 7}5;{i % 28 + 1}.{i % 12 + 1}.2023;{i % 12 + 1}/{i % 28 + 1}/2023;{i % 4 == 0}"  # noqa: E731
    splits = read(table(tmp_path, "spend;joined;left;target\n" + rows(400, line)))
    assert splits.facts["columns"] == {"number": ["spend"], "category": [], "date": ["joined"]}
    numbers = splits.train.rows.numbers
    assert numbers[0, 0] == 1000.05 + 100 * (splits.train.ids[0] % 10) + 0.1 * (splits.train.ids[0] % 7)
    assert numbers[0, 2] == splits.train.ids[0] % 12 + 1, "the second of a date is its month"
    (note,) = [note for note in splits.notes if "'left'" in note]
    assert "dates whose day and month cannot be told apart" in note


@pytest.mark.parametrize("separator", ["\t", "|"])
def test_a_comma_between_digits_is_the_decimal_one_with_semicolons_alone(tmp_path: Path, separator: str):
    def rows(line: str) -> str:
        return line.replace(";", separator)

    frame = read_frame(table(tmp_path, rows("a;b\n950;0,5\n1,234;1,25\n12,345;2,5\n")))
    assert frame["a"].to_list() == [950.0, 1234.0, 12345.0]
    assert frame["b"].to_list() == ["0,5", "1,25", "2,5"], "no thousands, so texts"
    assert read_frame(table(tmp_path, "a;b\n950;0,5\n1,234;1,25\n"))["a"].to_list() == [950.0, 1.234]


def test_thousands_in_quotes_are_numbers_and_texts_with_commas_are_not(tmp_path: Path):
    frame = read_frame(table(tmp_path, 'a,b,c\n"1,234.5","x,1",01\n7,"y,2",02\n'))
    assert frame["a"].to_list() == [1234.5, 7.0]
    assert frame["b"].to_list() == ["x,1", "y,2"]
    assert frame["c"].dtype.is_numeric(), "as polars reads it"


def test_names_of_columns_may_hold_the_separator(tmp_path):
    text = '"Income, USD","Debt, USD",target\n' + rows(20, lambda i: f"{i},{i * 7 % 5},{i % 2}")
    (tmp_path / "t.csv").write_text(text)
    assert list(read_frame(tmp_path / "t.csv").columns) == ["Income, USD", "Debt, USD", "target"]


def test_a_part_in_two_files_is_not_guessed_between(tmp_path):
    for name in ("train.csv", "train.csv.gz", "test.csv"):
        (tmp_path / name).touch()
    with pytest.raises(InputError, match=r"train\.csv and train\.csv\.gz are the same part"):
        files_of(tmp_path)
