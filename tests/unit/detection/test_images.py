import numpy as np
import pytest
import torch
from PIL import Image

from focalkit.detection import fit_size, pad_batch, read_image, resize, to_unit
from focalkit.errors import InputError
from focalkit.images import as_image
from focalkit.images.resize import same_size_batches


def picture(height=6, width=9):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("name", ["a.png", "a.webp", "a.bmp"])
def test_a_lossless_file_is_read_as_it_is(tmp_path, name):
    Image.fromarray(picture()).save(tmp_path / name, lossless=True)
    image = read_image(tmp_path / name)
    assert image.dtype == torch.uint8
    assert np.array_equal(image.permute(1, 2, 0).numpy(), picture())


def test_a_jpeg_is_read_nearly_as_it_is(tmp_path):
    smooth = np.tile(np.linspace(0, 255, 64).astype(np.uint8)[None, :, None], (48, 1, 3))
    Image.fromarray(smooth).save(tmp_path / "a.jpg", quality=95)
    got = read_image(tmp_path / "a.jpg").permute(1, 2, 0).numpy()
    assert np.abs(got.astype(int) - smooth).max() < 8


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_honoured(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(picture()).save(tmp_path / "a.png", exif=exif)
    a = picture()
    upright = {
        1: a,
        2: a[:, ::-1],
        3: a[::-1, ::-1],
        4: a[::-1],
        5: a.transpose(1, 0, 2),
        6: a[::-1].transpose(1, 0, 2),
        7: a[::-1, ::-1].transpose(1, 0, 2),
        8: a[:, ::-1].transpose(1, 0, 2),
    }[orientation]
    assert np.array_equal(read_image(tmp_path / "a.png").permute(1, 2, 0).numpy(), upright)


@pytest.mark.parametrize("mode", ["L", "1", "P", "RGBA", "LA", "CMYK", "I;16"])
def test_every_mode_becomes_rgb(tmp_path, mode):
    grey = np.linspace(0, 255, 256).astype(np.uint8).reshape(16, 16)
    if mode == "I;16":
        Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "a.png")
    else:
        Image.fromarray(grey).convert("RGB").convert(mode).save(tmp_path / ("a.tif" if mode == "CMYK" else "a.png"))
    image = read_image(next(tmp_path.iterdir()))
    assert image.shape == (3, 16, 16)
    if mode not in ("1", "P"):
        assert np.array_equal(image[1].numpy(), grey)


@pytest.mark.parametrize("mode", ["I;16", "I", "F", "L", "P", "RGBA"])
def test_a_pil_image_is_converted_as_its_file_is(tmp_path, mode):
    grey = np.linspace(0, 65535, 256).reshape(16, 16)
    deep = {"I;16": np.uint16, "I": np.int32, "F": np.float32}
    values = (grey / 65535 if mode == "F" else grey).astype(deep.get(mode, np.float64))
    values = values if mode in deep else (grey / 257).astype(np.uint8)
    image = Image.fromarray(values) if mode in deep else Image.fromarray(values).convert("RGB").convert(mode)
    assert image.mode == mode
    image.save(tmp_path / "a.tif")
    got = as_image(image)
    assert torch.equal(got, read_image(tmp_path / "a.tif"))
    if mode != "P":
        assert np.abs(got[0].numpy() - grey / 257).max() <= 1


def test_a_palette_with_transparency_is_read_without_a_warning(tmp_path):
    image = Image.fromarray(picture()).quantize(8)
    image.save(tmp_path / "a.png", transparency=bytes([0, 128, 255]))
    assert read_image(tmp_path / "a.png").shape == (3, 6, 9)


def test_what_is_no_image_is_named(tmp_path):
    (tmp_path / "text.jpg").write_text("no image")
    Image.fromarray(picture(64, 64)).save(tmp_path / "whole.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "whole.png").read_bytes()[:2000])
    for name, message in (("text.jpg", "cannot be read"), ("cut.png", "cannot be read"), ("none.png", "no such image")):
        with pytest.raises(InputError, match=message) as caught:
            read_image(tmp_path / name)
        assert name in str(caught.value)


@pytest.mark.parametrize(
    ("size", "limits", "expected"),
    [
        ((480, 640), (800, 1333), (800, 1067)),
        ((640, 480), (800, 1333), (1067, 800)),
        ((200, 1000), (800, 1333), (267, 1333)),
        ((416, 416), (416, 416), (416, 416)),
        ((1, 4000), (100, 400), (1, 400)),
    ],
)
def test_the_short_side_is_fitted_unless_the_long_one_would_pass(size, limits, expected):
    assert fit_size(*size, *limits) == expected


def test_resizing_keeps_the_dtype_and_means():
    image = (torch.arange(64.0).view(1, 8, 8).expand(3, 8, 8) * 3).to(torch.uint8)
    small = resize(image, (4, 4))
    assert small.dtype == torch.uint8
    assert small.shape == (3, 4, 4)
    assert float(small.float().mean()) == pytest.approx(float(image.float().mean()), abs=1)
    assert resize(image, (8, 8)) is image


def test_bytes_become_the_unit_interval():
    assert to_unit(torch.tensor([0, 255], dtype=torch.uint8)).tolist() == [0.0, 1.0]
    assert to_unit(torch.tensor([0.25], dtype=torch.float64)).dtype == torch.float32


def test_a_batch_is_filled_to_a_multiple_with_the_colour():
    a = torch.zeros(3, 40, 20, dtype=torch.uint8)
    b = torch.full((3, 10, 50), 255, dtype=torch.uint8)
    batch = pad_batch([a, b], (0.1, 0.2, 0.3))
    assert batch.shape == (2, 3, 64, 64)
    assert batch.is_contiguous(memory_format=torch.channels_last)
    assert (batch[0, :, :40, :20] == 0).all()
    assert (batch[1, :, :10, :50] == 1).all()
    colour = torch.tensor([0.1, 0.2, 0.3])
    for outside in (batch[0, :, 40:], batch[0, :, :, 20:], batch[1, :, 10:], batch[1, :, :, 50:]):
        assert torch.equal(outside, colour.view(3, 1, 1).expand_as(outside))


def test_no_images_and_wrong_images_are_refused():
    with pytest.raises(ValueError, match="at least one image"):
        pad_batch([], (0, 0, 0))
    with pytest.raises(ValueError, match=r"\(3, h, w\), got \(1, 4, 4\)"):
        pad_batch([torch.zeros(1, 4, 4)], (0, 0, 0))


GREY = np.arange(48, dtype=np.uint8).reshape(6, 8) * 5
RGB = np.stack([GREY, GREY, GREY], 2)


@pytest.mark.parametrize(
    "given",
    [
        RGB / 255,
        (GREY / 255).astype(np.float32),
        np.dstack([RGB, GREY]),
        RGB.astype(np.uint16) * 257,
        GREY.astype(np.uint16) * 257,
        RGB[:, ::-1].copy()[:, ::-1],
        torch.tensor(RGB / 255).permute(2, 0, 1).requires_grad_(),
        torch.tensor(np.dstack([RGB, GREY])).permute(2, 0, 1),
    ],
    ids=["float", "float grey", "alpha", "16 bits", "16 bits grey", "negative strides", "with a gradient", "4 planes"],
)
def test_every_form_of_the_same_pixels_is_the_same_image(given):
    assert torch.equal(as_image(given), torch.tensor(RGB).permute(2, 0, 1))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (RGB.transpose(2, 0, 1), r"channels come last: image\.transpose"),
        (torch.tensor(RGB), r"channels come first: image\.permute"),
        (RGB.astype(np.float32), "got values from 0 to 235"),
        (RGB.astype(np.int64), "expected an array of uint8, uint16, or float"),
    ],
)
def test_pixels_that_are_not_plain_say_what_to_do(given, said):
    with pytest.raises(InputError, match=said):
        as_image(given)


def test_a_batch_of_no_image_is_refused():
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        same_size_batches([(64, 64)], 0)
