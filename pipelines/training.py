"""The training pipeline: which step feeds which, and what each needs from the cluster. No logic of its own.

pin -> ingest -> data_quality -> split -> augment -> train -> export_onnx -> quantize -> evaluate
-> register -> promote, if the gate said yes
"""

import re
from collections.abc import Mapping
from typing import Any

from kfp import dsl, kubernetes

from components._image import image
from components.augment.component import augment
from components.data_quality.component import data_quality
from components.evaluate.component import evaluate
from components.export_onnx.component import export_onnx
from components.ingest.component import ingest
from components.pin.component import pin
from components.promote.component import promote
from components.quantize.component import quantize
from components.register.component import register
from components.split.component import split
from components.train.component import train
from pipelines.settings import Cluster
from pipelines.site import CHECKPOINTS, Site, named

NAME = "fineline-training"

_POD_IS_GONE = "/tmp/checkpoints"  # without a volume, checkpoints serve only the pod that wrote them
_TORCHRUN = ["python", "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=gpu"]
_VERSION = re.compile(r"models:/[^/@]+/[0-9]+")


@dsl.container_component
def finish(status: dsl.PipelineTaskFinalStatus) -> dsl.ContainerSpec:
    return dsl.ContainerSpec(
        image=image("register"), command=["python", "-m", "fineline.runs.finish", "--status", status]
    )


def training_pipeline(blocks: Mapping[str, dict[str, Any]], cluster: Cluster) -> Any:
    """The pipeline, with `blocks` (the steps' parameters) as defaults of its inputs, for `cluster`.

    What a run may change is an input, of the type that the backend's driver reads (backend/src/v2/driver/k8s.go: a text for a
    name or quantity, never for a selector or tolerations); the rest of `cluster` is compiled in.
    """
    registration = registration_pipeline(cluster)
    tolerated = [toleration.model_dump(exclude_unset=True) for toleration in cluster.tolerations]

    @dsl.pipeline(name=NAME, description="From labelled text to a registered model, one container per step.")
    def training(
        pin_params: dict = blocks["pin"],
        ingest_params: dict = blocks["ingest"],
        data_quality_params: dict = blocks["data_quality"],
        split_params: dict = blocks["split"],
        augment_params: dict = blocks["augment"],
        train_params: dict = blocks["train"],
        export_onnx_params: dict = blocks["export_onnx"],
        quantize_params: dict = blocks["quantize"],
        evaluate_params: dict = blocks["evaluate"],
        register_params: dict = blocks["register"],
        promote_params: dict = blocks["promote"],
        pin_image: str = named(cluster, "pin"),
        ingest_image: str = named(cluster, "ingest"),
        data_quality_image: str = named(cluster, "data_quality"),
        split_image: str = named(cluster, "split"),
        augment_image: str = named(cluster, "augment"),
        train_image: str = named(cluster, "train"),
        export_onnx_image: str = named(cluster, "export_onnx"),
        quantize_image: str = named(cluster, "quantize"),
        evaluate_image: str = named(cluster, "evaluate"),
        register_image: str = named(cluster, "register"),
        promote_image: str = named(cluster, "promote"),
        gpu_count: str = str(cluster.gpu_count),
        gpu_type: str = cluster.gpu_type,
        node_selector: dict = cluster.node_selector,
        tolerations: list = tolerated,
        checkpoints: str = CHECKPOINTS if cluster.checkpoints_claim else _POD_IS_GONE,
        checkpoints_claim: str = cluster.checkpoints_claim,
        hub_cache_claim: str = cluster.hub_cache_claim,
        tracking_secret: str = cluster.tracking_secret,
        source_secret: str = cluster.source_secret,
        config_map: str = cluster.config_map,
    ) -> None:
        site = Site(cluster, locals())
        end = recorded_end(site)
        with dsl.ExitHandler(end, name="steps"):
            train_and_register(site, blocks["train"], checked_rows(site), registration)

    return training


def recorded_end(site: Site) -> Any:
    """The task that records how the pipeline's run ended."""
    end = finish()
    # Not cached: it records this run's end.
    return site.tracked(site.placed(end, "register", cached=False))


def checked_rows(site: Site) -> Any:
    """pin, ingest and data_quality; gives the clean dataset."""
    # Not cached: the source may hold other rows by now.
    pinned = site.placed(pin(params=site.inputs["pin_params"]), "pin", cached=False)
    site.with_object_store(pinned)
    # As text, since an artifact of a step that ran is new to the cache, whatever it holds.
    read = ingest(params=site.inputs["ingest_params"], source_version=pinned.outputs["version"])
    site.with_object_store(site.placed(read, "ingest", cached=True))
    # Cached from ingest to evaluate: what they write depends on inputs, parameters and image alone.
    checked = data_quality(params=site.inputs["data_quality_params"], dataset=read.outputs["dataset"])
    site.with_hub_cache(site.placed(checked, "data_quality", cached=True))
    return checked.outputs["clean"]


def names_one_model(block: Mapping[str, Any]) -> bool:
    """Whether a block `train` starts from the same weights for ever: no alias, nor a hub's or folder's newest state."""
    if block["init_from"]:
        return _VERSION.fullmatch(block["init_from"]) is not None
    return block["model"].startswith("bundled:") or bool(block["revision"])


def train_and_register(site: Site, train_block: Mapping[str, Any], clean: Any, registration: Any) -> None:
    """split to evaluate on the dataset `clean`, then `registration`, which kfp cannot make inside of another pipeline.

    `train_block` are the parameters of train that are compiled in.
    """
    given = site.inputs
    divided = split(params=given["split_params"], dataset=clean)
    site.placed(divided, "split", cached=True)
    grown = augment(params=given["augment_params"], splits=divided.outputs["splits"])
    site.with_hub_cache(site.placed(grown, "augment", cached=True))
    rows = grown.outputs["augmented"]

    trained = train(params=given["train_params"], splits=rows, checkpoints=given["checkpoints"])
    # Cached only where it names one model to start from; an alias may point elsewhere by now.
    cached = names_one_model(train_block)
    site.placed(trained, "train", cached, of="train_", hours=site.cluster.train_timeout_hours)
    site.tracked(site.with_hub_cache(trained))
    kubernetes.add_node_selector_json(trained, given["node_selector"])
    kubernetes.add_toleration_json(trained, given["tolerations"])
    kubernetes.empty_dir_mount(trained, "shm", "/dev/shm", medium="Memory", size_limit=site.cluster.shm_size)
    if site.cluster.checkpoints_claim:
        kubernetes.mount_pvc(trained, given["checkpoints_claim"], CHECKPOINTS)
    if site.cluster.gpu_count:
        trained.set_accelerator_type(given["gpu_type"]).set_accelerator_limit(given["gpu_count"])
        # kfp 2.17 forgets inputs that only resources name
        trained.register_pipeline_channels([given["gpu_type"], given["gpu_count"]])
    if site.cluster.gpu_count > 1:
        trained.container_spec.command[:1] = _TORCHRUN
    model = trained.outputs["model"]

    exported = export_onnx(params=given["export_onnx_params"], model=model, splits=rows)
    site.tracked(site.placed(exported, "export_onnx", cached=True))
    smaller = quantize(params=given["quantize_params"], onnx=exported.outputs["onnx"], splits=rows)
    site.tracked(site.placed(smaller, "quantize", cached=True))
    bundle = smaller.outputs["bundle"]
    judged = evaluate(params=given["evaluate_params"], model=model, bundle=bundle, splits=rows)
    site.tracked(site.placed(judged, "evaluate", cached=True))
    names = ("register_params", "promote_params", "register_image", "promote_image", "tracking_secret")
    registration(
        passed=judged.outputs["passed"],
        bundle=bundle,
        report=judged.outputs["report"],
        splits=rows,
        **{name: given[name] for name in names},
    )


def registration_pipeline(cluster: Cluster) -> Any:
    """register and promote, if the gate said yes."""

    @dsl.pipeline(name="registration")
    def registration(
        passed: bool,
        register_params: dict,
        promote_params: dict,
        bundle: dsl.Input[dsl.Model],
        report: dsl.Input[dsl.Artifact],
        splits: dsl.Input[dsl.Dataset],
        register_image: str,
        promote_image: str,
        tracking_secret: str,
    ) -> None:
        site = Site(cluster, locals())
        # A pipeline of its own: kfp's local runners take dsl.If on another task's output for false.
        with dsl.If(passed == True, name="gate-passed"):  # noqa: E712  kfp compiles the comparison
            # Not cached, both: the registry may have changed since.
            registered = register(params=register_params, bundle=bundle, report=report, splits=splits)
            site.tracked(site.placed(registered, "register", cached=False))
            registered_as = registered.outputs["registration"]
            promoted = promote(params=promote_params, bundle=bundle, registration=registered_as, splits=splits)
            site.tracked(site.placed(promoted, "promote", cached=False))

    return registration
