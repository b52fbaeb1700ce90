"""How many processes load images."""

import os

import pytest

from focalkit.data.loading import usable_workers


@pytest.mark.parametrize(("wanted", "cores", "workers"), [(2, 1, 1), (2, 8, 2), (0, 4, 0)])
def test_no_more_processes_load_than_there_are_cores(wanted, cores, workers, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(cores)), raising=False)
    assert usable_workers(wanted) == workers


def test_where_affinity_is_unknown_the_cores_of_the_machine_count(monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    assert usable_workers(4) == 1
