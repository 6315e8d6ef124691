"""In which arithmetic to train: what the machine computes natively."""

from fineline.process.errors import UsageError


def resolve(precision: str) -> str:
    """fp32, bf16 or fp16 for a `precision` that may be auto. Raises UsageError for fp16 without a GPU: CPUs only emulate it."""
    import torch

    gpu = torch.cuda.is_available()
    if precision == "auto":
        return "bf16" if native_bf16() else "fp32"
    if precision == "fp16" and not gpu:
        raise UsageError("train.precision = fp16 needs a GPU, and there is none", "set precision: auto, bf16 or fp32")
    return precision


def native_bf16() -> bool:
    """Whether the GPU, or without one the CPU (avx512_bf16 or amx_bf16), multiplies bf16 matrices itself.

    Emulated bf16 is slower than fp32.
    """
    import torch

    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    able = torch.cpu.get_capabilities()
    return bool(able.get("avx512_bf16") or able.get("amx_bf16"))
