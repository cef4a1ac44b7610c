"""The prepare stage: a dataset's files are decoded, checked, resized, split and audited."""
