"""Where rows come from and which version that is: pin and ingest; monitor and `fineline predict` for their files."""
