"""Label maps of images that no stage has seen, of any size, from anywhere on disk."""
