"""The registry's tests share the MLflow database of the tracking tests, and work in an empty folder as they do."""

from tests.tracking.conftest import elsewhere, uri  # noqa: F401
