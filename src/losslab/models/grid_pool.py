"""Average pooling over a grid that CUDA can differentiate deterministically."""

import torch
from torch import Tensor, nn


class GridPool(nn.AdaptiveAvgPool2d):
    """Pool as torch does, but by cell on CUDA with deterministic algorithms, where torch's backward pass raises."""

    def forward(self, features: Tensor) -> Tensor:
        if features.is_cuda and torch.are_deterministic_algorithms_enabled():
            return pool_by_cell(features, self.output_size)
        return super().forward(features)


def pool_by_cell(features: Tensor, output_size: int | tuple[int | None, ...] | None) -> Tensor:
    """Compute `F.adaptive_avg_pool2d` as one mean per cell: `[N, C, H, W]` → `[N, C, rows, columns]`.

    >>> pool_by_cell(torch.arange(16.0).view(1, 1, 4, 4), 2).tolist()
    [[[[2.5, 4.5], [10.5, 12.5]]]]
    """
    height, width = features.shape[-2:]
    rows, columns = output_size if isinstance(output_size, tuple) else (output_size, output_size)
    grid = [
        torch.stack([features[..., up:down, left:right].mean((-2, -1)) for left, right in _split(width, columns)], -1)
        for up, down in _split(height, rows)
    ]
    return torch.stack(grid, -2)


def use_grid_pool(net: nn.Module) -> None:
    """Replace torch's pooling to more than one cell by GridPool; for a single cell torch takes a mean anyway."""
    for module in net.modules():
        if type(module) is nn.AdaptiveAvgPool2d and module.output_size not in (1, (1, 1)):
            module.__class__ = GridPool


def _split(side: int, cells: int | None) -> list[tuple[int, int]]:
    cells = side if cells is None else cells
    return [(i * side // cells, -(-(i + 1) * side // cells)) for i in range(cells)]
