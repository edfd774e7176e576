"""Networks in this process get one thread; those of Ray's workers are none of its business."""

from tests.models.conftest import _one_thread  # noqa: F401
