"""From a dataset's files to arrays: decoded, checked, resized, dealt into splits, and audited."""
