"""Pretrained models: where they come from, and loaded whole: train, augment, data_quality, export_onnx, evaluate."""
