"""Image and mask files as arrays: decoded, mapped to labels, and resized."""
