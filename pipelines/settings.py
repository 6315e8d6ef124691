"""The block `cluster` of params.yaml: what Kubeflow must know about the cluster, and no step about itself."""

import re
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from fineline.params import StepParams

_QUANTITY = re.compile(r"\d+(\.\d+)?(m|k|Ki|M|Mi|G|Gi|T|Ti)?")


def _quantity(value: Any) -> str:
    if not _QUANTITY.fullmatch(str(value)):
        raise ValueError("not a Kubernetes quantity; write 4, 500m, 16Gi")
    return str(value)


Quantity = Annotated[str, BeforeValidator(_quantity)]


class Cluster(StepParams):
    """Where and with what the steps run on a cluster. Those marked 'run time' are inputs of the compiled pipeline."""

    registry: str = Field(
        "fineline", description="Where the images are: REGISTRY/<step>:TAG. Run time, as <step>_image."
    )
    tag: str = Field("", description="Tag of the images; '' is fineline's version. Run time, as <step>_image.")
    images: dict[str, str] = Field(
        {},
        description="Whole names by step, best with a digest (train: registry/train@sha256:...), since Kubeflow's cache "
        "does not see what is behind a tag. Run time, as <step>_image.",
    )
    gpu_count: int = Field(
        1,
        ge=0,
        le=64,
        description="GPUs of the training pod; of several, torchrun gives each a process of its own. 0 compiles a pipeline "
        "without GPUs, more than 1 one with torchrun. Run time.",
    )
    gpu_type: str = Field("nvidia.com/gpu", min_length=1, description="Resource name of the GPUs. Run time.")
    node_selector: dict[str, str] = Field(
        {},
        description="Labels of the nodes that train may run on, as {label: value}. Run time, as JSON.",
    )
    tolerations: list[dict[str, Any]] = Field(
        [],
        description="Taints that train tolerates, as Kubernetes writes them: {key, operator, value, effect}. Run time, as JSON.",
    )
    train_cpu: Quantity = Field("4", description="CPU of the training pod, request and limit. Run time.")
    train_memory: Quantity = Field("16Gi", description="Memory of the training pod, request and limit. Run time.")
    cpu: Quantity = Field("2", description="CPU of every other step, request and limit. Run time.")
    memory: Quantity = Field("4Gi", description="Memory of every other step, request and limit. Run time.")
    shm_size: Quantity = Field(
        "2Gi",
        description="/dev/shm of the training pod, in memory and counted as its memory: NCCL needs it. When compiling.",
    )
    checkpoints_claim: str = Field(
        "fineline-checkpoints",
        description="Volume claim for checkpoints, so that a retry goes on where the pod died; '' = none. Run time.",
    )
    hub_cache_claim: str = Field(
        "fineline-hub-cache", description="Volume claim for models of the hub, fetched once; '' = none. Run time."
    )
    tracking_uri: str = Field(
        "http://mlflow.fineline.svc.cluster.local:5000",
        min_length=1,
        description="MLflow server that the steps log to, an http address without credentials. When compiling.",
    )
    tracking_secret: str = Field(
        "mlflow-credentials",
        description="Secret with MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD; '' = none. Run time.",
    )
    source_secret: str = Field(
        "object-store",
        description="Secret with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, for ingest; '' = none. Run time.",
    )
    config_map: str = Field(
        "fineline",
        description="Config map whose AWS_ENDPOINT_URL and AWS_DEFAULT_REGION, where it has them, say to ingest where the "
        "object store is; '' = none. Run time.",
    )
    service_account: str = Field(
        "fineline-steps", description="Service account of all pods of a run; '' = Kubeflow's own. When submitting."
    )
    pull_secret: str = Field("", description="Secret to pull the images with; '' = none. When compiling.")
    retries: int = Field(
        2,
        ge=0,
        le=10,
        description="Times that a failed pod is tried again, after 1, 2, 4, ... minutes. When compiling.",
    )
    train_timeout_hours: float = Field(
        24.0, gt=0, le=720, description="A training pod that runs longer than this is ended. When compiling."
    )
    timeout_hours: float = Field(
        2.0, gt=0, le=720, description="The same for the pod of every other step. When compiling."
    )
