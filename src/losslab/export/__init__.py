"""Nets as files for other programs: ONNX, TorchScript, torch.export."""
