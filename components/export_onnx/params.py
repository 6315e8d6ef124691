"""Parameters of export_onnx."""

from pydantic import Field

from fineline.steps.params import StepParams


class Params(StepParams):
    """The graph, and how equal to PyTorch it must be."""

    opset: int = Field(
        20,
        ge=18,
        le=23,
        description="ONNX opset, 18 to 23; 20 is the first with Gelu as one operator. Newer ones need a newer ONNX Runtime.",
    )
    parity_texts: int = Field(
        64,
        ge=64,
        le=10_000,
        description="Texts of different lengths on which PyTorch and the bundle are compared: validation rows first, then "
        "training and test rows, then beginnings of them. At least 64.",
    )
    max_difference: float = Field(
        1e-3,
        gt=0,
        description="Largest difference of any logit that passes; more is exit 5. fp32 graphs differ by about 1e-5.",
    )
    golden_tolerance: float = Field(
        1e-3,
        gt=0,
        le=1,
        description="Difference of probabilities that the bundle's self-test allows, 0 to 1. fp32 kernels of different "
        "processors differ by about 1e-5; a damaged weight or a wrong tokenizer by far more.",
    )
