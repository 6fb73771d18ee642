"""An index of many scenes: what it costs to build, and to find the scenes of one area in it, beside reading all items.

``python benchmarks/scene_index.py --items 100000`` writes that many STAC items over China, in collections of 4000, builds the
index and asks it for a box of 0.1°; beside it, the same question answered by reading every item.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import shapely

from ecowatch.scenes import build_index
from ecowatch.scenes.index import indexed_items
from ecowatch.scenes.stac_links import items
from turns import keep, median, spent, table, wall

BOX = (100.1, 30.1, 100.2, 30.2)
BANDS = {"blue": "B02", "green": "B03", "red": "B04", "nir": "B08", "swir16": "B11", "swir22": "B12"}
PER_FILE = 4000


def main() -> None:
    """Measure, print the table, keep the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with TemporaryDirectory() as name:
        folder, index = Path(name) / "items", Path(name) / "index.parquet"
        write_items(folder, options.items)
        build = spent(lambda: build_index([folder], index))
        assert sum(1 for _ in indexed_items(index, [index.parent], within=[BOX])) == plainly_found(folder)
        asked = [spent(lambda: list(indexed_items(index, [index.parent], within=[BOX]))) for _ in range(options.rounds)]
        plain = spent(lambda: plainly_found(folder))
        size_mb = index.stat().st_size / 1e6
    query_s = median(wall(asked))
    rows: list[list[str | float]] = [
        ["build", build.wall_s, build.wall_s / plain.wall_s],
        ["scenes of one area from the index", query_s, query_s / plain.wall_s],
        ["the same from the items", plain.wall_s, 1.0],
    ]
    table(f"Index of {options.items} scenes, {size_mb:.1f} MB", rows, ["", "s", "of the items"])
    keep({"index_query_over_items": query_s / plain.wall_s, "index_query_seconds": query_s})


def write_items(folder: Path, count: int) -> None:
    """Write items over China, 4000 a file."""
    folder.mkdir(parents=True)
    for first in range(0, count, PER_FILE):
        features = [item(number) for number in range(first, min(first + PER_FILE, count))]
        text = json.dumps({"type": "FeatureCollection", "features": features})
        (folder / f"{first:06d}.json").write_text(text, "utf-8")


def item(number: int) -> dict[str, Any]:
    """One item: a degree square somewhere, some day of six years."""
    west, south = 73 + number * 7919 % 620 / 10, 18 + number * 104_729 % 350 / 10
    ring = [[west, south], [west + 1, south], [west + 1, south + 1], [west, south + 1], [west, south]]
    day = f"{2020 + number % 6}-{1 + number % 12:02d}-{1 + number % 28:02d}T03:00:{number % 60:02d}Z"
    raster = [{"scale": 0.0001, "offset": -0.1, "nodata": 0}]
    assets: dict[str, Any] = {
        key: {"href": f"./{number}/{key}.tif", "eo:bands": [{"name": name, "common_name": key}], "raster:bands": raster}
        for key, name in BANDS.items()
    }
    assets["scl"] = {"href": f"./{number}/scl.tif", "roles": ["data"]}
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": f"S2_{number:06d}",
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "bbox": [west, south, west + 1, south + 1],
        "properties": {"datetime": day, "platform": "sentinel-2a", "s2:processing_baseline": "05.11"},
        "assets": assets,
        "links": [],
    }


def plainly_found(folder: Path) -> int:
    """Number of items whose box touches the area, by reading all of them; with the margin that the index leaves."""
    area = shapely.box(*BOX).buffer(0.05)
    boxes: Iterator[Any] = (shapely.box(*document.item["bbox"]) for document in items(folder, [folder]))
    return sum(area.intersects(box) for box in boxes)


if __name__ == "__main__":
    main()
