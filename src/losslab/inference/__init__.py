"""Inference: tensors in and out of a net, and a trained net ready for images of any size."""
