"""The server behind `fineline serve`: a bundle over HTTP with ONNX Runtime and tokenizers, no torch."""
