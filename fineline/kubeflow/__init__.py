"""Kubeflow's side of a step, for the command line of the steps, `pipelines/` and the local runner."""
