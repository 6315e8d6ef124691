"""What runs on Kubeflow Pipelines: the two DAGs, their parameters and places, compiler, client and local runner."""
