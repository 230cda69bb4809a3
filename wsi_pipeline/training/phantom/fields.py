"""Random fields of world coordinates: they give the same value at the same micrometre whatever block is asked for."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


def rng_for(seed: int, purpose: str) -> np.random.Generator:
    """Return a generator of its own per purpose, so that an option of one part never changes another part."""
    return np.random.default_rng([seed, zlib.crc32(purpose.encode())])


def smoothstep(value: Array, low: float, high: float) -> Array:
    """Return 0 below `low`, 1 above `high`, and a smooth cubic between."""
    t = np.clip((value - np.float32(low)) * np.float32(1.0 / (high - low)), 0, 1)
    return np.asarray(t * t * (np.float32(3) - np.float32(2) * t), dtype=np.float32)


@dataclass(frozen=True)
class Waves:
    """A sum of m plane waves: smooth, endless, and cheap on a grid because each wave separates into x and y."""

    kx: NDArray[np.float64]
    ky: NDArray[np.float64]
    phase: NDArray[np.float64]
    amplitude: NDArray[np.float64]

    @classmethod
    def random(cls, rng: np.random.Generator, count: int, wavelength_um: tuple[float, float], rms: float) -> Waves:
        """Draw `count` waves of random direction and the given range of wavelengths, um, and overall rms value."""
        k = 2 * np.pi / rng.uniform(*wavelength_um, count)
        angle = rng.uniform(0, 2 * np.pi, count)
        amplitude = np.full(count, rms * np.sqrt(2.0 / count))
        return cls(k * np.cos(angle), k * np.sin(angle), rng.uniform(0, 2 * np.pi, count), amplitude)

    def at(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the value at points (n,) given in um."""
        argument = np.multiply.outer(x, self.kx) + np.multiply.outer(y, self.ky) + self.phase
        return np.asarray(np.sin(argument) @ self.amplitude)

    def grid(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> Array:
        """Return float32 (len(y), len(x)) on the grid of the two axes, um."""
        ax = np.multiply.outer(self.kx, x) + self.phase[:, None]
        ay = np.multiply.outer(y, self.ky)
        weight = self.amplitude[:, None]
        total = np.cos(ay) @ (weight * np.sin(ax)) + np.sin(ay) @ (weight * np.cos(ax))
        return np.asarray(total, dtype=np.float32)


@dataclass(frozen=True)
class Texture:
    """A periodic image of mean 0 and standard deviation 1 with `texel_um` micrometres per texel."""

    values: Array
    texel_um: float

    @classmethod
    def band(cls, rng: np.random.Generator, texel_um: float, sigma_um: tuple[float, float], size: int = 512) -> Texture:
        """Draw noise smoothed by Gaussians of `sigma_um` along x and y; periodic, so it wraps without a seam."""
        spectrum = np.fft.rfft2(rng.standard_normal((size, size)))
        fx, fy = np.fft.rfftfreq(size, texel_um), np.fft.fftfreq(size, texel_um)
        low = np.exp(-2 * np.pi**2 * ((fx[None, :] * sigma_um[0]) ** 2 + (fy[:, None] * sigma_um[1]) ** 2))
        values = np.fft.irfft2(spectrum * low, s=(size, size))
        values -= values.mean()
        return cls((values / values.std()).astype(np.float32), texel_um)

    def sample(self, x: Array, y: Array) -> Array:
        """Return the texture at float32 maps of um, shape of `x`."""
        size_um = self.values.shape[0] * self.texel_um
        x0, y0 = np.floor(x.min() / size_um) * size_um, np.floor(y.min() / size_um) * size_um
        scale = np.float32(1.0 / self.texel_um)
        mx, my = (x - np.float32(x0)) * scale, (y - np.float32(y0)) * scale
        out = cv2.remap(self.values, mx, my, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
        return np.asarray(out, dtype=np.float32)


def value_noise(rng: np.random.Generator, shape: tuple[int, int], step_um: float, wavelength_um: float) -> Array:
    """Return smooth noise (rows, columns) on a layout grid of `step_um`, mean 0 and standard deviation about 1."""
    pitch = max(wavelength_um / 2 / step_um, 1.0)
    rows, columns = int(np.ceil(shape[0] / pitch)) + 3, int(np.ceil(shape[1] / pitch)) + 3
    coarse = rng.standard_normal((rows, columns)).astype(np.float32)
    y = (np.arange(shape[0], dtype=np.float32) / np.float32(pitch) + 1)[:, None]
    x = (np.arange(shape[1], dtype=np.float32) / np.float32(pitch) + 1)[None, :]
    grid_x, grid_y = np.broadcast_to(x, shape), np.broadcast_to(y, shape)
    fine = cv2.remap(coarse, np.ascontiguousarray(grid_x), np.ascontiguousarray(grid_y), cv2.INTER_CUBIC)
    fine = cv2.GaussianBlur(fine, (0, 0), max(pitch / 2.5, 0.6))
    return np.asarray(fine / max(float(fine.std()), 1e-6), dtype=np.float32)
