import numpy as np
import pytest
import torch
import torch.nn.functional as F

from pipeline.models.layers import SameConv3d, SameMaxPool3d, same_padding


@pytest.mark.parametrize(
    ("n", "kernel", "stride", "expected"),
    [
        (224, 7, 2, (2, 3)),  # Conv3d_1a_7x7, height
        (79, 7, 2, (3, 3)),  # Conv3d_1a_7x7, 79 frames
        (112, 3, 2, (0, 1)),  # MaxPool3d_2a_3x3
        (40, 3, 2, (0, 1)),  # MaxPool3d_4a_3x3, 79 frames
        (125, 3, 2, (1, 1)),  # MaxPool3d_4a_3x3, 250 frames
        (16, 2, 2, (0, 0)),  # MaxPool3d_5a_2x2, 64 frames
        (63, 2, 2, (0, 1)),  # MaxPool3d_5a_2x2, 250 frames
        (5, 3, 1, (1, 1)),
        (4, 1, 2, (0, 0)),
    ],
)
def test_padding_is_tensorflows(n, kernel, stride, expected):
    assert same_padding(n, kernel, stride) == expected


@pytest.mark.parametrize("kernel", [(3, 3, 3), (2, 2, 2), (1, 3, 3), (7, 7, 7), (1, 2, 4)])
@pytest.mark.parametrize("size", [(1, 1, 1), (2, 3, 4), (5, 6, 7), (8, 9, 11)])
def test_pooling_and_convolution_equal_an_explicitly_padded_copy(kernel, size):
    x = torch.randn(2, 3, *size)  # negative values tell padding by minus infinity from padding by zero
    pads = [p for n, k in zip(reversed(size), reversed(kernel), strict=True) for p in same_padding(n, k, 2)]
    pool = SameMaxPool3d(kernel, (2, 2, 2))
    assert torch.equal(pool(x), F.max_pool3d(F.pad(x, pads, value=-np.inf), kernel, 2))
    conv = SameConv3d(3, 4, kernel, 2, bias=False)
    torch.testing.assert_close(conv(x), F.conv3d(F.pad(x, pads), conv.weight, stride=2))
    assert conv(x).shape[2:] == pool(x).shape[2:] == tuple(-(-n // 2) for n in size)


def test_even_kernel_with_stride_one_is_refused():
    with pytest.raises(ValueError, match="even kernel needs a stride above 1"):
        SameMaxPool3d((2, 2, 2), (1, 1, 1))
