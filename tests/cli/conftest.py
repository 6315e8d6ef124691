"""Fixtures of what people type: a Kubeflow Pipelines server and a cluster, and a registered model in a real MLflow."""

from tests.cli.registered_models import bundles, fineline, mlflow_server, name  # noqa: F401
from tests.pipelines.conftest import kubernetes, server  # noqa: F401
