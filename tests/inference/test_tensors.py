import pytest
import torch

from losslab.inference.tensors import to_input, to_labels


def test_input_is_normalised_and_channels_last() -> None:
    images = torch.tensor([0, 128, 255], dtype=torch.uint8).expand(1, 4, 4, 3)
    result = to_input(images, [0.0, 128 / 255, 0.5], [1.0, 0.5, 0.25])
    assert result[0, :, 0, 0].tolist() == pytest.approx([0.0, 0.0, 2.0])
    assert result.is_contiguous(memory_format=torch.channels_last)


def test_labels_are_argmax_or_sign() -> None:
    assert to_labels(torch.tensor([[[[0.1]], [[0.3]], [[0.2]]]])).tolist() == [[[1]]]
    assert to_labels(torch.tensor([[[[-0.1, 0.1]]]])).tolist() == [[[0, 1]]]
