"""Rows: files of them, read the same way by ingest, monitor and `fineline predict`, and as Parquet between the steps."""
