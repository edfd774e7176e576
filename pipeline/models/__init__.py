"""The networks of the papers, in plain torch.nn.

`create_model(name, num_classes, **options)` builds a network, `list_models(pattern)` lists the available ones, and
`load_published(model, file)` fills one with published weights, inflating those of 2D networks.
"""

from pipeline.models.inflation import imagenet_weights
from pipeline.models.published import LoadReport, load_published
from pipeline.models.published_files import PUBLISHED_FILES, named_weights, published_file
from pipeline.models.registry import ModelInfo, create_model, list_models
from pipeline.models.weights import WeightsError

__all__ = [
    "PUBLISHED_FILES",
    "LoadReport",
    "ModelInfo",
    "WeightsError",
    "create_model",
    "imagenet_weights",
    "list_models",
    "load_published",
    "named_weights",
    "published_file",
]
