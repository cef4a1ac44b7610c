"""A user's project: the files that `losslab init` writes and `losslab upgrade` keeps up, and the code that it runs."""
