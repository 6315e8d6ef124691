"""Where a task runs: its image, resources, retries, deadline, confinement, and what it needs to reach outside."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from kfp import kubernetes

from components._image import image
from fineline import __version__
from fineline.tracking.tags import PIPELINE_RUN
from pipelines.settings import Cluster

CHECKPOINTS, HUB_CACHE = "/checkpoints", "/hub"

_USER = 65532
_BACKOFF = 60  # seconds before the first retry
CREDENTIALS = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD")
OBJECT_STORE = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
_OBJECT_STORE_ADDRESS = ("AWS_ENDPOINT_URL", "AWS_DEFAULT_REGION")


def named(cluster: Cluster, step: str) -> str:
    """The image of a step."""
    return cluster.images.get(step) or image(step, cluster.registry, cluster.tag or __version__)


@dataclasses.dataclass(frozen=True)
class Site:
    """The cluster's settings that are compiled in, and the pipeline's inputs by their names: <step>_image, gpu_count, ...

    What changes no result is compiled in where it can be: an input is part of the key of Kubeflow's cache.
    """

    cluster: Cluster
    inputs: Mapping[str, Any]

    def placed(self, task: Any, step: str, cached: bool, of: str = "", hours: float = 0.0) -> Any:
        """`task` in the image of `step`. Its resources are the cluster's `<of>cpu` and `<of>memory`, its deadline `hours` or
        that of the cluster."""
        cpu, memory = getattr(self.cluster, f"{of}cpu"), getattr(self.cluster, f"{of}memory")
        task.set_container_image(self.inputs[f"{step}_image"])
        task.set_cpu_request(cpu).set_cpu_limit(cpu).set_memory_request(memory).set_memory_limit(memory)
        task.set_caching_options(cached)
        timeout = int((hours or self.cluster.timeout_hours) * 3600)
        kubernetes.set_timeout(task, timeout)
        self._retried(task, timeout)
        kubernetes.set_security_context(task, run_as_user=_USER, run_as_group=_USER, run_as_non_root=True)
        if self.cluster.pull_secret:
            kubernetes.set_image_pull_secrets(task, [self.cluster.pull_secret])
        return task

    def _retried(self, task: Any, timeout: int) -> None:
        """Has a pod of `task` that was lost tried again, each as long as `timeout`, in seconds.

        Argo counts the longest duration from the start of the first pod, and makes it the deadline of the others
        (workflow/controller/operator.go, processNodeRetries): it covers all of them and the waits between.
        """
        retries = self.cluster.retries
        waits = sum(_BACKOFF * 2**number for number in range(retries))
        longest = (retries + 1) * timeout + waits
        task.set_retry(retries, backoff_duration=f"{_BACKOFF}s", backoff_factor=2.0, backoff_max_duration=f"{longest}s")

    def tracked(self, task: Any) -> Any:
        """`task` with what reaches MLflow."""
        task.set_env_variable("MLFLOW_TRACKING_URI", self.cluster.tracking_uri)
        kubernetes.use_field_path_as_env(task, PIPELINE_RUN, "metadata.labels['pipeline/runid']")
        if self.cluster.tracking_secret:
            keys = {key: key for key in CREDENTIALS}
            kubernetes.use_secret_as_env(task, self.inputs["tracking_secret"], keys)
        return task

    def with_object_store(self, task: Any) -> Any:
        """`task` with what reaches the object store of the source."""
        if self.cluster.source_secret:
            keys = {key: key for key in OBJECT_STORE}
            kubernetes.use_secret_as_env(task, self.inputs["source_secret"], keys)
        if self.cluster.config_map:
            keys = {key: key for key in _OBJECT_STORE_ADDRESS}
            kubernetes.use_config_map_as_env(task, self.inputs["config_map"], keys, optional=True)
        return task

    def with_hub_cache(self, task: Any) -> Any:
        """`task` with the volume that keeps models of the hub, where there is one."""
        if self.cluster.hub_cache_claim:
            kubernetes.mount_pvc(task, self.inputs["hub_cache_claim"], HUB_CACHE)
            task.set_env_variable("HF_HUB_CACHE", HUB_CACHE)
        return task
