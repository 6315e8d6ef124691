"""HTML pages in one file: data_quality, evaluate, promote, monitor."""
