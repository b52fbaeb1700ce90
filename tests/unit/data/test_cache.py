"""Cached images are those of the files, within bounds, and shared between loading processes."""

import pickle
from pathlib import Path

import pytest
import torch
from PIL import Image

from focalkit._memory import free_memory, memory_for_a_file
from focalkit.config import AugmentConfig
from focalkit.data import DetectionData, DetectionDataset, ImageRecord, cache, collate, dataset
from focalkit.data.cache import ImageCache, cache_for
from focalkit.data.loading import make_loader

SIZES = [(20, 30), (30, 20), (25, 25)]


@pytest.fixture
def data(tmp_path: Path) -> DetectionData:
    records = []
    for number, (height, width) in enumerate(SIZES):
        path = tmp_path / f"{number}.png"
        pixels = torch.randint(0, 256, (height, width, 3), dtype=torch.uint8)
        Image.fromarray(pixels.numpy()).save(path)
        records.append(ImageRecord(number, path, width, height))
    return DetectionData("train", (), tuple(records), (), tmp_path)


def test_a_sample_is_the_same_with_and_without_the_cache(data: DetectionData, monkeypatch: pytest.MonkeyPatch):
    reads = []
    monkeypatch.setattr(dataset, "read_image", lambda path, real=dataset.read_image: reads.append(path) or real(path))
    plain, cached = (
        DetectionDataset(data, 16, 24, AugmentConfig(color=0.5, crop=1.0), cache=one)
        for one in (None, ImageCache(SIZES, 10**6))
    )
    for epoch in range(2):
        for one in (plain, cached):
            one.set_epoch(epoch)
        for index in range(3):
            assert torch.equal(plain[index][0], cached[index][0])
    assert len(reads) == 6 + 3, "six without, one per image with"


def test_what_does_not_fit_is_read_each_time():
    one = ImageCache(SIZES, 3 * (600 + 600) + 10)
    assert len(one) == 2
    images = [torch.full((3, h, w), 7, dtype=torch.uint8) for h, w in SIZES]
    for _ in range(2):
        for index, image in enumerate(images):
            found = one.get(index, lambda image=image: image)
            assert torch.equal(found, image)
            found += 1  # must not reach the cache
        images = [torch.full((3, h, w), 7, dtype=torch.uint8) for h, w in SIZES]
    assert one.kept == 2


def test_loading_processes_fill_one_cache(data: DetectionData):
    one = ImageCache(SIZES, 10**6)
    loader = make_loader(
        DetectionDataset(data, 16, 24, cache=one), 1, collate((0.0,) * 3), workers=2, batch_bytes=10**4
    )
    assert len(list(loader)) == 3
    assert one.kept == 3


def test_a_cache_that_is_sent_to_another_process_begins_empty():
    one = ImageCache(SIZES, 10**6)
    one.get(0, lambda: torch.zeros(3, 20, 30, dtype=torch.uint8))
    other = pickle.loads(pickle.dumps(one))
    assert (one.kept, other.kept) == (1, 0)
    other.get(1, lambda: torch.zeros(3, 30, 20, dtype=torch.uint8))
    assert (one.kept, other.kept) == (1, 1)


def test_the_bound_is_the_containers_where_that_is_lower(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    proc = tmp_path / "meminfo"
    proc.write_text("MemTotal: 8000 kB\nMemAvailable:    4000 kB\n")
    assert free_memory(proc, tmp_path) == 4000 * 1024
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("1000\n")
    assert free_memory(proc, tmp_path) == 4000 * 1024
    (tmp_path / "memory.max").write_text("10000\n")
    assert free_memory(proc, tmp_path) == 9000
    assert memory_for_a_file(tmp_path) == 5000
    (tmp_path / "memory.stat").write_text("anon 300\ninactive_file 600\n")  # files that were read
    assert free_memory(proc, tmp_path) == 9600
    monkeypatch.setattr(cache, "free_memory", lambda: 3 * 3 * 600 + 1)
    found = cache_for(SIZES, 1.0)
    assert found is not None
    assert len(found) == 1
    assert cache_for(SIZES, 1.0, processes=2) is None
