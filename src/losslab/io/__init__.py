"""Files, hashes, YAML and Git: what every room reads and writes with."""
