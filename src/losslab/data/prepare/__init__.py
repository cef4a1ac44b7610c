"""From a dataset's files to arrays: decoded, checked, resized, split and audited."""
