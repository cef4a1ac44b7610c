"""Files, hashes, YAML and Git, for every room."""
