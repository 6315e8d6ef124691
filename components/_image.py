"""Registry, name and version of the images, said once: for component.py, docker/build.py and the pipeline's defaults."""

from fineline import __version__

REGISTRY = "fineline"


def image(step: str, registry: str = REGISTRY, tag: str = __version__) -> str:
    """The image of a step: image("data_quality") is fineline/data-quality:0.1.0."""
    return f"{registry}/{step.replace('_', '-')}:{tag}"
