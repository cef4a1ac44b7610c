"""From a dataset's card to batches: cards, fetching, readers, audit, prepared arrays, loaders."""
