"""The block `cluster` of params.yaml: what Kubeflow must know about the cluster, and no step about itself."""

import difflib
import re
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, field_validator, model_validator

from fineline.kubeflow import delivery
from fineline.steps.params import StepParams

_CPUS = re.compile(r"\d+(\.\d+)?|\d+m")
_BYTES = re.compile(r"\d+(K|Ki|M|Mi|G|Gi|T|Ti)?")
_NAME = r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?"
_LABEL_KEY = re.compile(rf"([a-z0-9]([a-z0-9.-]{{0,251}}[a-z0-9])?/)?{_NAME}")
_LABEL_VALUE = re.compile(rf"({_NAME})?")


def _cpus(value: Any) -> str:
    if not _CPUS.fullmatch(str(value)):
        raise ValueError("not a Kubernetes quantity of CPU; write 4, 1.5 or 500m")
    return str(value)


def _bytes(value: Any) -> str:
    if not _BYTES.fullmatch(str(value)):
        raise ValueError("not a Kubernetes quantity of memory that kfp takes; write 16Gi or 1500Mi")
    return str(value)


def _label_key(value: str) -> str:
    if not _LABEL_KEY.fullmatch(value):
        raise ValueError("not the key of a Kubernetes label or taint; write example.com/name or name")
    return value


def _label_value(value: str) -> str:
    if not _LABEL_VALUE.fullmatch(value):
        raise ValueError("not the value of a Kubernetes label or taint: up to 63 letters, digits, '-', '_' and '.'")
    return value


Cpus = Annotated[str, BeforeValidator(_cpus)]
Bytes = Annotated[str, BeforeValidator(_bytes)]
LabelKey = Annotated[str, AfterValidator(_label_key)]
LabelValue = Annotated[str, AfterValidator(_label_value)]


class Toleration(StepParams):
    """A taint that a pod tolerates, with Kubernetes' names and rules (ValidateTolerations in pkg/apis/core/validation)."""

    key: LabelKey | Literal[""] = Field("", description="Key of the taint; '' with operator Exists = every taint.")
    operator: Literal["Exists", "Equal"] = Field("Equal", description="Whether the value counts.")
    value: LabelValue = Field("", description="Value of the taint; none with operator Exists.")
    effect: Literal["", "NoSchedule", "PreferNoSchedule", "NoExecute"] = Field("", description="'' = every effect.")
    tolerationSeconds: int = Field(0, description="How long NoExecute is tolerated; left out = for ever.")

    @model_validator(mode="after")
    def _rules(self) -> "Toleration":
        if self.operator == "Exists" and self.value:
            raise ValueError("operator Exists takes no value")
        if not self.key and self.operator != "Exists":
            raise ValueError("without a key the operator must be Exists")
        if "tolerationSeconds" in self.model_fields_set and self.effect != "NoExecute":
            raise ValueError("tolerationSeconds needs effect NoExecute")
        return self


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
    node_selector: dict[LabelKey, LabelValue] = Field(
        {},
        description="Labels of the nodes that train may run on, as {label: value}. Run time.",
    )
    tolerations: list[Toleration] = Field(
        [],
        description="Taints that train tolerates, as Kubernetes writes them: {key, operator, value, effect}. Run time.",
    )
    train_cpu: Cpus = Field("4", description="CPU of the training pod, request and limit. When compiling.")
    train_memory: Bytes = Field("16Gi", description="Memory of the training pod, request and limit. When compiling.")
    cpu: Cpus = Field("2", description="CPU of every other step, request and limit. When compiling.")
    memory: Bytes = Field("4Gi", description="Memory of every other step, request and limit. When compiling.")
    shm_size: Bytes = Field(
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
        description="Times that a lost pod is tried again, after 1, 2, 4, ... minutes; a failed one only where Argo's settings "
        "say so. When compiling.",
    )
    train_timeout_hours: float = Field(
        24.0, gt=0, le=720, description="A training pod that runs longer than this is ended. When compiling."
    )
    timeout_hours: float = Field(
        2.0, gt=0, le=720, description="The same for the pod of every other step. When compiling."
    )

    @field_validator("*", mode="after")
    @classmethod
    def _arrives(cls, value: Any) -> Any:
        """Kubernetes itself reads these, which cannot decode what Kubeflow or Argo would change."""
        if delivery.encoded(value) != value:
            raise ValueError("holds text that Kubeflow, Argo or Kubernetes changes: $(, $$, {{, [[, a leading -")
        return value

    @field_validator("images", mode="after")
    @classmethod
    def _of_steps(cls, images: dict[str, str]) -> dict[str, str]:
        steps = sorted(path.parent.name for path in Path(__file__).parents[1].glob("components/*/component.py"))
        for name in images.keys() - steps:
            close = difflib.get_close_matches(name, steps, n=1)
            raise ValueError(f"there is no step {name}" + (f", did you mean {close[0]}?" if close else f": {steps}"))
        return images

    @field_validator("tracking_uri", mode="after")
    @classmethod
    def _address(cls, uri: str) -> str:
        parts = urlsplit(uri)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise ValueError("not an address; write http(s)://HOST[:PORT][/PATH]")
        if "@" in parts.netloc:
            raise ValueError("holds a user name or password, which belong in cluster.tracking_secret")
        return uri
