"""From a dataset's card to batches: download, read, prepare, audit, load."""
