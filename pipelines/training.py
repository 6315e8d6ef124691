"""The training pipeline: which step feeds which, and what each needs from the cluster. No logic of its own.

ingest -> data_quality -> split -> augment -> train -> export_onnx -> quantize -> evaluate
-> register -> promote, if the gate said yes
"""

import json
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
from components.promote.component import promote
from components.quantize.component import quantize
from components.register.component import register
from components.split.component import split
from components.train.component import train
from fineline import __version__
from fineline.tracking import PIPELINE_RUN
from pipelines.settings import Cluster

NAME = "fineline-training"
CHECKPOINTS, HUB_CACHE = "/checkpoints", "/hub"

_USER = 65532
_POD_IS_GONE = "/tmp/checkpoints"  # without a volume, checkpoints serve only the pod that wrote them
_CREDENTIALS = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD")
_OBJECT_STORE = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
_OBJECT_STORE_ADDRESS = ("AWS_ENDPOINT_URL", "AWS_DEFAULT_REGION")
_COMMIT = re.compile(r"(dvc|hf)://.+@[0-9a-f]{7,40}(:.*)?")


@dsl.container_component
def finish(status: dsl.PipelineTaskFinalStatus) -> dsl.ContainerSpec:
    return dsl.ContainerSpec(image=image("register"), command=["python", "-m", "fineline.finish", "--status", status])


def training_pipeline(blocks: Mapping[str, dict[str, Any]], cluster: Cluster) -> Any:
    """The pipeline, with `blocks` (the steps' parameters) as defaults of its inputs, for `cluster`.

    What kfp-kubernetes takes at run time is an input, as text; the rest of `cluster` is compiled in.
    """
    source_is_fixed = _COMMIT.fullmatch(blocks["ingest"]["source"]) is not None

    def named(step: str) -> str:
        return cluster.images.get(step) or image(step, cluster.registry, cluster.tag or __version__)

    def placed(task: Any, name: Any, cpu: Any, memory: Any, cached: bool, hours: float = cluster.timeout_hours) -> Any:
        task.set_container_image(name)
        task.set_cpu_request(cpu).set_cpu_limit(cpu).set_memory_request(memory).set_memory_limit(memory)
        task.register_pipeline_channels(
            [cpu, memory]
        )  # kfp does it for the image, not for these: they would be missing
        task.set_caching_options(cached)
        task.set_retry(cluster.retries, backoff_duration="60s", backoff_factor=2.0, backoff_max_duration="3600s")
        kubernetes.set_timeout(task, int(hours * 3600))
        kubernetes.set_security_context(task, run_as_user=_USER, run_as_group=_USER, run_as_non_root=True)
        if cluster.pull_secret:
            kubernetes.set_image_pull_secrets(task, [cluster.pull_secret])
        return task

    def tracked(task: Any, secret: Any) -> Any:
        task.set_env_variable("MLFLOW_TRACKING_URI", cluster.tracking_uri)
        kubernetes.use_field_path_as_env(task, PIPELINE_RUN, "metadata.labels['pipeline/runid']")
        if cluster.tracking_secret:
            kubernetes.use_secret_as_env(task, secret, {key: key for key in _CREDENTIALS})
        return task

    def with_hub_cache(task: Any, claim: Any) -> Any:
        if cluster.hub_cache_claim:
            kubernetes.mount_pvc(task, claim, HUB_CACHE)
            task.set_env_variable("HF_HUB_CACHE", HUB_CACHE)
        return task

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
        cpu: str,
        memory: str,
        tracking_secret: str,
    ) -> None:
        # A pipeline of its own: kfp's local runners take dsl.If on another task's output for false.
        with dsl.If(passed == True, name="gate-passed"):  # noqa: E712  kfp compiles the comparison
            # Not cached, both: the registry may have changed since.
            registered = register(params=register_params, bundle=bundle, report=report, splits=splits)
            tracked(placed(registered, register_image, cpu, memory, cached=False), tracking_secret)
            registered_as = registered.outputs["registration"]
            promoted = promote(params=promote_params, bundle=bundle, registration=registered_as, splits=splits)
            tracked(placed(promoted, promote_image, cpu, memory, cached=False), tracking_secret)

    @dsl.pipeline(name=NAME, description="From labelled text to a registered model, one container per step.")
    def training(
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
        source: str = blocks["ingest"]["source"],
        ingest_image: str = named("ingest"),
        data_quality_image: str = named("data_quality"),
        split_image: str = named("split"),
        augment_image: str = named("augment"),
        train_image: str = named("train"),
        export_onnx_image: str = named("export_onnx"),
        quantize_image: str = named("quantize"),
        evaluate_image: str = named("evaluate"),
        register_image: str = named("register"),
        promote_image: str = named("promote"),
        gpu_count: str = str(cluster.gpu_count),
        gpu_type: str = cluster.gpu_type,
        node_selector: str = json.dumps(cluster.node_selector),
        tolerations: str = json.dumps(cluster.tolerations),
        train_cpu: str = cluster.train_cpu,
        train_memory: str = cluster.train_memory,
        cpu: str = cluster.cpu,
        memory: str = cluster.memory,
        checkpoints: str = CHECKPOINTS if cluster.checkpoints_claim else _POD_IS_GONE,
        checkpoints_claim: str = cluster.checkpoints_claim,
        hub_cache_claim: str = cluster.hub_cache_claim,
        tracking_secret: str = cluster.tracking_secret,
        source_secret: str = cluster.source_secret,
        config_map: str = cluster.config_map,
    ) -> None:
        end = finish()
        # Not cached: it records this run's end.
        tracked(placed(end, register_image, cpu, memory, cached=False), tracking_secret)
        with dsl.ExitHandler(end, name="steps"):
            # Cached only where the source names a commit; anything else may hold other rows by now.
            read = ingest(params=ingest_params, source=source)
            placed(read, ingest_image, cpu, memory, cached=source_is_fixed)
            if cluster.source_secret:
                kubernetes.use_secret_as_env(read, source_secret, {key: key for key in _OBJECT_STORE})
            if cluster.config_map:
                keys = {key: key for key in _OBJECT_STORE_ADDRESS}
                kubernetes.use_config_map_as_env(read, config_map, keys, optional=True)
            # Cached from here to evaluate: what they write depends on inputs, parameters and image alone.
            checked = data_quality(params=data_quality_params, dataset=read.outputs["dataset"])
            with_hub_cache(placed(checked, data_quality_image, cpu, memory, cached=True), hub_cache_claim)
            divided = split(params=split_params, dataset=checked.outputs["clean"])
            placed(divided, split_image, cpu, memory, cached=True)
            grown = augment(params=augment_params, splits=divided.outputs["splits"])
            with_hub_cache(placed(grown, augment_image, cpu, memory, cached=True), hub_cache_claim)
            rows = grown.outputs["augmented"]

            trained = train(params=train_params, splits=rows, checkpoints=checkpoints)
            placed(trained, train_image, train_cpu, train_memory, cached=True, hours=cluster.train_timeout_hours)
            tracked(with_hub_cache(trained, hub_cache_claim), tracking_secret)
            kubernetes.add_node_selector_json(trained, node_selector)
            kubernetes.add_toleration_json(trained, tolerations)
            kubernetes.empty_dir_mount(trained, "shm", "/dev/shm", medium="Memory", size_limit=cluster.shm_size)
            if cluster.checkpoints_claim:
                kubernetes.mount_pvc(trained, checkpoints_claim, CHECKPOINTS)
            if cluster.gpu_count:
                trained.set_accelerator_type(gpu_type).set_accelerator_limit(gpu_count)
                trained.register_pipeline_channels([gpu_type, gpu_count])
            model = trained.outputs["model"]

            exported = export_onnx(params=export_onnx_params, model=model, splits=rows)
            tracked(placed(exported, export_onnx_image, cpu, memory, cached=True), tracking_secret)
            smaller = quantize(params=quantize_params, onnx=exported.outputs["onnx"], splits=rows)
            tracked(placed(smaller, quantize_image, cpu, memory, cached=True), tracking_secret)
            bundle = smaller.outputs["bundle"]
            judged = evaluate(params=evaluate_params, model=model, bundle=bundle, splits=rows)
            tracked(placed(judged, evaluate_image, cpu, memory, cached=True), tracking_secret)
            registration(
                passed=judged.outputs["passed"],
                register_params=register_params,
                promote_params=promote_params,
                bundle=bundle,
                report=judged.outputs["report"],
                splits=rows,
                register_image=register_image,
                promote_image=promote_image,
                cpu=cpu,
                memory=memory,
                tracking_secret=tracking_secret,
            )

    return training
