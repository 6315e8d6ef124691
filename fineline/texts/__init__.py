"""When two texts are the same: ingest, data_quality, split, augment, and the gate for rows that were trained on."""
