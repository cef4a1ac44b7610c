"""Random numbers that are the same on every machine: integer hashes of a key and a counter."""

import math

import numpy as np
import numpy.typing as npt


class RandomStream:
    """A stream of uniform numbers: splitmix64 (Steele, Lea, Flood 2014) of a key and a counter."""

    def __init__(self, *key: int) -> None:
        self.state = 0
        for part in key:
            self.state = _mix((self.state + part + 0x9E3779B97F4A7C15) & _MASK)
        self.count = 0

    def uniform(self, low: float = 0.0, high: float = 1.0) -> float:
        self.count += 1
        return low + (high - low) * (_mix((self.state + self.count * 0x9E3779B97F4A7C15) & _MASK) >> 11) / (1 << 53)

    def integer(self, low: int, high: int) -> int:
        """Draw an integer from low to high, both included."""
        return low + int(self.uniform() * (high - low + 1))

    def direction(self) -> tuple[float, float]:
        """Draw a unit vector; the rational form of the circle needs no sine."""
        t = self.uniform(-1, 1)
        x, y = (1 - t * t) / (1 + t * t), 2 * t / (1 + t * t)
        return (x, y) if self.uniform() < 0.5 else (-x, -y)

    def array(self, *shape: int) -> npt.NDArray[np.float64]:
        """Draw uniform numbers in -1..1, hashed all at once."""
        with np.errstate(over="ignore"):
            z = np.arange(math.prod(shape), dtype=np.uint64) + np.uint64(self.integer(0, 2**48))
            z = z * np.uint64(0x9E3779B97F4A7C15)
            z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            z = z ^ (z >> np.uint64(31))
        return ((z >> np.uint64(11)).astype(np.float64) / 2**52 - 1).reshape(shape)


_MASK = (1 << 64) - 1


def _mix(z: int) -> int:
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return z ^ (z >> 31)
