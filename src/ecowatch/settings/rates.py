"""What work costs on one worker; nothing here can change a result."""

from __future__ import annotations

from pydantic import Field

from .model import Settings


class Rates(Settings):
    """Seconds of one worker, for the expected hours of a plan.

    The defaults are CPU seconds of the pipeline `bitemporal` on simulated six-band pairs of uint16 (DEFLATE, predictor 2,
    blocks of 512) with scene classes, read by rasterio on one core of a shared two-core cloud machine;
    ``benchmarks/national.py rates`` measures those of another machine and prints a file of this form. Not measured but
    estimated are ``jpeg2000_mb_s``, ``area_s`` and ``start_s``; ``tile_s``, too small to be measured, is rounded up.
    """

    decode_mb_s: float = Field(default=240.0, gt=0, description="Raw megabytes decoded per second, tiled GeoTIFF.")
    jpeg2000_mb_s: float = Field(default=9.3, gt=0, description="Raw megabytes decoded per second, JPEG 2000.")
    fit_s: float = Field(default=0.13, ge=0, description="A fit, whatever its size: files opened, result written.")
    window_s: float = Field(
        default=0.017, ge=0, description="A window in which the shift is measured, reading included."
    )
    sample_s: float = Field(default=0.0047, ge=0, description="The transform, per thousand pixels of its sample.")
    tile_s: float = Field(default=0.01, ge=0, description="A tile, whatever its size.")
    block_s: float = Field(default=0.018, ge=0, description="A block of 512 x 512 pixels, decoding left out.")
    look_s: float = Field(default=0.012, ge=0, description="A candidate looked at again.")
    looks_per_block: float = Field(default=1.1, ge=0, description="Candidates per block; 1.1 on the simulated pair.")
    area_s: float = Field(default=0.03, ge=0, description="An area in the main process: assembly, layers, record.")
    start_s: float = Field(default=6.0, ge=0, description="A run, whatever its size: imports, workers, kernels.")
