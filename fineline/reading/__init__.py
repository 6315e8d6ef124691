"""Files of rows, read the same way by ingest, monitor and `fineline predict`."""
