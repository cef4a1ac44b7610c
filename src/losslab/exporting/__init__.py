"""Nets as files for other programs: ONNX, TorchScript, torch.export; and what MLflow serves."""
