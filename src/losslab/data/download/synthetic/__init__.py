"""Drawn datasets: lesions, nuclei, vessels and road scenes, with the same bytes on every machine.

Random numbers are integer hashes, and floating point is elementwise +, -, *, / and sqrt of float64, which IEEE 754 fixes to
the last bit. No sums over arrays, no sin or exp, no threads. Images are stored as BMP: compressors differ between builds,
BMP has none.
"""

from losslab.data.download.synthetic.lesions import draw_lesion
from losslab.data.download.synthetic.stream import RandomStream

__all__ = ["RandomStream", "draw_lesion"]
