"""Images of one class each: a folder of folders, or arrays in npz files; a residual network."""

from ._image import CIFAR_LT as CIFAR_LT
from ._image import TASK as TASK
from ._image import Images as Images
