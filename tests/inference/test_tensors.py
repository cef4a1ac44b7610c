import pytest
import torch

from losslab.inference.tensors import InputScaling, to_labels


def test_input_is_normalised_and_channels_last() -> None:
    images = torch.tensor([0, 128, 255], dtype=torch.uint8).expand(1, 4, 4, 3)
    result = InputScaling({"mean": [0.0, 128 / 255, 0.5], "std": [1.0, 0.5, 0.25]})(images)
    assert result[0, :, 0, 0].tolist() == pytest.approx([0.0, 0.0, 2.0])
    assert result.is_contiguous(memory_format=torch.channels_last)


def test_values_beyond_a_clipped_range_are_its_ends() -> None:
    bands = {"names": ["nir"], "dtype": "uint16", "shown": [0] * 3, "low": [100.0], "high": [300.0], "clip": True}
    scaling = InputScaling({"mean": [0.5], "std": [0.25], "bands": bands})
    images = torch.tensor([[[[0], [100], [200], [65535]]]], dtype=torch.uint16)
    assert scaling(images).flatten().tolist() == [-2, -2, 0, 2]


def test_labels_are_argmax_or_sign() -> None:
    assert to_labels(torch.tensor([[[[0.1]], [[0.3]], [[0.2]]]])).tolist() == [[[1]]]
    assert to_labels(torch.tensor([[[[-0.1, 0.1]]]])).tolist() == [[[0, 1]]]
