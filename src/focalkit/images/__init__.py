"""Read, resize, batch and draw on images; augmentation is in `focalkit.data`."""

from focalkit.images.files import read_image as read_image
from focalkit.images.files import rgb_array as rgb_array
from focalkit.images.inputs import as_image as as_image
from focalkit.images.inputs import each_image as each_image
from focalkit.images.inputs import find_images as find_images
from focalkit.images.inputs import left_out as left_out
from focalkit.images.large import LargePicture as LargePicture
from focalkit.images.large import is_large as is_large
from focalkit.images.resize import fit_size as fit_size
from focalkit.images.resize import pad_batch as pad_batch
from focalkit.images.resize import padded_size as padded_size
from focalkit.images.resize import resize as resize
from focalkit.images.resize import same_size_batches as same_size_batches
from focalkit.images.resize import to_unit as to_unit

__all__ = [
    "LargePicture",
    "as_image",
    "each_image",
    "find_images",
    "fit_size",
    "is_large",
    "left_out",
    "pad_batch",
    "padded_size",
    "read_image",
    "resize",
    "rgb_array",
    "same_size_batches",
    "to_unit",
]
