import pytest
import torch

from pipeline.models import create_model


@pytest.mark.parametrize("name", ["t3d121", "densenet3d121", "hara_densenet3d121"])
def test_smallest_clip(name):
    with torch.device("meta"):
        model = create_model(name, num_classes=3).eval()
        assert model(torch.empty(1, 3, 15, 29, 29)).shape == (1, 3)
        for size in ((14, 29, 29), (15, 28, 29)):
            with pytest.raises(ValueError, match="at least 15 frames of 29x29, got"):
                model(torch.empty(1, 3, *size))


def test_hara_pooling_leaves_out_the_last_row_as_published():
    x = torch.randn(1, 2, 1, 4, 4)
    clip = torch.empty(1, 3, 16, 127, 127)  # floor(127 / 32) = 3, but the map is 4x4
    published = create_model("hara_densenet3d121", num_classes=3)
    complete = create_model("hara_densenet3d121", num_classes=3, pool_all=True)
    torch.testing.assert_close(published.pool(x, clip), x[..., :3, :3].mean(dim=(2, 3, 4)))
    torch.testing.assert_close(complete.pool(x, clip), x.mean(dim=(2, 3, 4)))
