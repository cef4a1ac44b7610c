"""Average pooling over a grid that CUDA can differentiate deterministically."""

import torch
from torch import Tensor, nn


class GridPool(nn.AdaptiveAvgPool2d):
    """torch's own, whose backward pass raises on CUDA where deterministic algorithms are asked for; there, cell by cell."""

    def forward(self, features: Tensor) -> Tensor:
        if features.is_cuda and torch.are_deterministic_algorithms_enabled():
            return pool_by_cell(features, self.output_size)
        return super().forward(features)


def pool_by_cell(features: Tensor, output_size: int | tuple[int | None, ...] | None) -> Tensor:
    """`F.adaptive_avg_pool2d`, as one mean per cell: `[N, C, H, W]` → `[N, C, rows, columns]`."""
    height, width = features.shape[-2:]
    rows, columns = output_size if isinstance(output_size, tuple) else (output_size, output_size)
    grid = [
        torch.stack([features[..., up:down, left:right].mean((-2, -1)) for left, right in _spans(width, columns)], -1)
        for up, down in _spans(height, rows)
    ]
    return torch.stack(grid, -2)


def use_grid_pool(net: nn.Module) -> None:
    """Put GridPool in the place of torch's pooling to more than one cell; with one, torch takes a mean anyway."""
    for module in net.modules():
        if type(module) is nn.AdaptiveAvgPool2d and module.output_size not in (1, (1, 1)):
            module.__class__ = GridPool


def _spans(side: int, cells: int | None) -> list[tuple[int, int]]:
    cells = side if cells is None else cells
    return [(i * side // cells, -(-(i + 1) * side // cells)) for i in range(cells)]
