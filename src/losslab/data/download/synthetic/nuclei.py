"""Drawn tissue as under the microscope, stained pink, with many small purple nuclei, of which some touch."""

from dataclasses import dataclass

import numpy as np

from losslab.data.download.synthetic.drawing import (
    Canvas,
    Colour,
    Picture,
    Plane,
    add_grain,
    blend,
    draw_noise,
    finish_image,
    mix_colours,
    sample_noise,
    smooth,
    vary,
)
from losslab.data.download.synthetic.stream import RandomStream

NUCLEUS = 1
PALE, DEEP = (0.60, 0.44, 0.72), (0.27, 0.14, 0.42)
"""The stain of nuclei, weak and strong."""


@dataclass(frozen=True)
class Cell:
    x: float
    y: float
    radius: float


def draw_nuclei(draws: RandomStream, size: int, difficulty: float = 0.5) -> tuple[Picture, Picture]:
    """Draw an image, RGB `[size, size, 3]`, and its mask `[size, size]` of 0 background, 1 nucleus."""
    canvas = Canvas(size)
    tissue, gaps = _draw_tissue(draws, canvas)
    bends, grains = draw_noise(draws, size, 22), draw_noise(draws, size, 64)
    for _ in range(round(draws.integer(0, 8) * vary(difficulty, 0.8))):
        _add_blood_cell(draws, canvas)
    for cell in _place_cells(draws, size):
        if gaps[int(cell.y), int(cell.x)] > 0.3:
            continue
        _add_nucleus(draws, canvas, cell, bends, grains, tissue, difficulty)
    add_grain(draws, canvas.image, 0.014 * vary(difficulty, 0.5))
    return finish_image(canvas.image), canvas.labels


def _draw_tissue(draws: RandomStream, canvas: Canvas) -> tuple[Colour, Plane]:
    """Paint fibres that run in one direction, with gaps as white as the glass; return the tissue's colour and the gaps."""
    size = canvas.size
    tone = mix_colours((0.93, 0.74, 0.85), (0.84, 0.55, 0.72), draws.uniform())
    ux, uy = draws.direction()
    place = (np.arange(size) + 0.5) / size * 2 - 1
    x, y = place[None, :], place[:, None]
    wave = draw_noise(draws, size, 4)
    along, across = x * ux + y * uy, y * ux - x * uy + 0.18 * wave
    # The unit square lies within 1.42 of its centre; the wave adds 0.18.
    fibres = sample_noise(draws, (along + 1.6) * 3, (across + 1.6) * 15, 48)
    clouds, flecks = draw_noise(draws, size, 5), draw_noise(draws, size, 50)
    depth = 1 + 0.07 * fibres + 0.05 * clouds + 0.03 * flecks
    for channel, part in enumerate((0.4, 1.1, 0.6)):  # the stain takes green away first
        canvas.image[..., channel] = tone[channel] * (1 + part * (depth - 1))
    gaps = np.clip((wave + 0.5 * clouds + 0.15 * fibres - draws.uniform(0.55, 1.0)) * 9, 0, 1)
    blend(canvas.image, smooth(gaps) * 0.9, (0.955, 0.935, 0.955))
    return tone, gaps


def _add_blood_cell(draws: RandomStream, canvas: Canvas) -> None:
    """Add a red disc without a nucleus: roundness and size alone do not tell a nucleus."""
    unit = canvas.size / 128
    x, y, radius = draws.uniform() * canvas.size, draws.uniform() * canvas.size, draws.uniform(2.5, 4.0) * unit
    patch = canvas.cut(x - radius, y - radius, x + radius, y + radius)
    distance = np.sqrt((patch.x - x) * (patch.x - x) + (patch.y - y) * (patch.y - y))
    patch.paint(radius - distance, (0.86, 0.36, 0.46), strength=draws.uniform(0.5, 0.85))
    patch.paint(radius * 0.4 - distance, (0.93, 0.60, 0.66), strength=0.5)


def _place_cells(draws: RandomStream, size: int) -> list[Cell]:
    """Throw nuclei of two sizes, more in a crowd; neighbours may overlap by a seventh of their radii."""
    cells: list[Cell] = []
    wanted, small = draws.integer(15, 60), draws.uniform(0.2, 0.8)
    crowds = [(draws.uniform(), draws.uniform()) for _ in range(3)]
    for _ in range(6 * wanted):
        radius = draws.uniform(2.0, 3.6) if draws.uniform() < small else draws.uniform(3.8, 7.0)
        x, y = draws.uniform(), draws.uniform()
        if draws.uniform() < 0.6:
            cx, cy = crowds[draws.integer(0, 2)]
            x, y = cx + 0.4 * (x - 0.5), cy + 0.4 * (y - 0.5)
        cell = Cell(x * 128, y * 128, radius)
        if 0 < x < 1 and 0 < y < 1 and not any(_overlap(cell, other) for other in cells):
            cells.append(cell)
        if len(cells) == wanted:
            break
    unit = size / 128
    return [Cell(cell.x * unit, cell.y * unit, cell.radius * unit) for cell in cells]


def _overlap(one: Cell, other: Cell) -> bool:
    apart = (one.radius + other.radius) * 0.86
    return (one.x - other.x) * (one.x - other.x) + (one.y - other.y) * (one.y - other.y) < apart * apart


def _add_nucleus(
    draws: RandomStream, canvas: Canvas, cell: Cell, bends: Plane, grains: Plane, tissue: Colour, difficulty: float
) -> None:
    """Add a bent ellipse with a dark rim and a grain of its own; large ones are paler and may have a nucleolus."""
    unit = canvas.size / 128
    large = cell.radius > 3.7 * unit
    ux, uy = draws.direction()
    long = cell.radius * draws.uniform(1.0, 1.25 if large else 1.1)
    short = cell.radius * draws.uniform(0.72, 1.0)
    reach = long * 1.6
    patch = canvas.cut(cell.x - reach, cell.y - reach, cell.x + reach, cell.y + reach)
    px, py = patch.x - cell.x, patch.y - cell.y
    a, b = (px * ux + py * uy) / long, (py * ux - px * uy) / short
    inside = (1 - np.sqrt(a * a + b * b) + 0.2 * bends[patch.at]) * short
    # The cell around it is a little darker than the tissue.
    plasm = np.clip(inside / (1.4 * short) + 0.9, 0, 1)
    blend(patch.image, smooth(plasm) * 0.22, (tissue[0] * 0.93, tissue[1] * 0.78, tissue[2] * 0.96))
    depth = draws.uniform(0.1, 0.7) if large else draws.uniform(0.5, 1.0)
    stain = mix_colours(PALE, DEEP, depth)
    faint = draws.uniform(0.45, 0.65) if draws.uniform() < 0.25 * vary(difficulty, 0.8) else draws.uniform(0.8, 1.0)
    strength = faint * vary(difficulty, -0.4)
    softness = 1.2 * vary(difficulty, 0.9)
    shade = 1 + 0.22 * grains[patch.at]
    cover = np.clip(inside / softness + 0.5, 0, 1) * strength
    blend(patch.image, cover, tuple(channel * shade for channel in stain))
    rim = np.clip(1 - np.abs(inside - 0.7 * unit) / (0.9 * unit), 0, 1)
    blend(patch.image, rim * cover * 0.45, DEEP)
    if large and draws.uniform() < 0.5:
        ox, oy = draws.uniform(-0.35, 0.35) * short, draws.uniform(-0.35, 0.35) * short
        spot = np.sqrt((px - ox) * (px - ox) + (py - oy) * (py - oy))
        patch.paint(1.1 * unit - spot, DEEP, strength=0.75 * strength)
    patch.labels[inside > 0] = NUCLEUS
