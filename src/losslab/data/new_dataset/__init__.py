"""A card for images and masks of your own."""
