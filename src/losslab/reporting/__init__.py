"""Pages and figures, written from what runs left on disk."""
