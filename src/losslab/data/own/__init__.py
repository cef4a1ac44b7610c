"""A card, and a place, for images and masks of one's own."""
