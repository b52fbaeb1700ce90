"""The convolution of heads and pyramids: 3x3, stride 1, many channels, of which dense detectors mostly consist."""

from torch import Tensor, nn

from focalkit.kernels.winograd import conv3x3


class FastConv2d(nn.Conv2d):
    """`nn.Conv2d`, whose large 3x3 convolutions of stride 1 are faster in float32 on a CPU (`kernels/winograd.py`)."""

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        usual = self.kernel_size == (3, 3) and self.stride == self.dilation == self.padding == (1, 1)
        if usual and self.groups == 1 and self.padding_mode == "zeros":
            return conv3x3(input, weight, bias)
        return super()._conv_forward(input, weight, bias)
