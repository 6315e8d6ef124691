"""The bundle that ships, and what held-out rows look like to it: from export_onnx to promote, monitor, predict and the server."""
