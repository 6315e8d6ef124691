"""A Kubeflow Pipelines server and a cluster, as the tests of what compiles for them have them."""

from tests.pipelines.conftest import kubernetes, server  # noqa: F401
