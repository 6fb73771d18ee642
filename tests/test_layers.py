"""The layers of the design, held by the imports themselves."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "ecowatch"

LAYER = {
    "errors": 0,
    "codes": 0,
    "texts": 0,
    "grid": 1,
    "outlines": 1,
    "tiff": 1,
    "digests": 1,
    "objects": 1,
    "intake": 1,
    "atomic": 1,
    "compiled_kernels": 1,
    "forks": 1,
    "settings": 1,
    "prepare": 2,
    "detect": 2,
    "raster": 3.0,
    "scenes": 3.1,
    "patches": 3.1,
    "areas": 3.1,
    "ledger": 3.1,
    "simulate": 3.2,
    "review": 4.0,
    "report": 4.1,
    "evaluate": 4.1,
    "desk": 4.1,
    "cli": 5,
    "__main__": 5,
}
# One layer, but a fixed order among its members: no cycle, no other sideways import.
SIDEWAYS = {
    ("intake", "tiff"),
    ("intake", "digests"),
    ("intake", "objects"),
    ("settings", "grid"),
    ("outlines", "grid"),
    ("grid", "errors"),
    ("__main__", "cli"),
}
CONFINED = {
    "numba": {"compiled_kernels.py"},
    "rasterio": {"raster"},
    "distributed": {"review/engine.py"},
    "dask": {"review/engine.py"},
    "dask_jobqueue": {"review/engine.py"},
    "dask_kubernetes": {"review/engine.py"},
    "llvmlite": {"compiled_kernels.py"},
    "multiprocessing": {"forks.py"},
    "geopandas": {"ledger/run_folder.py", "report"},
    "pandas": {"ledger/run_folder.py", "report"},
    "typer": {"cli"},
    "pydantic": {"settings"},
    "onnxruntime": {"detect/onnx.py"},
    "sklearn": {"ledger/learn.py"},
    "sqlite3": {"digests.py", "ledger", "areas", "review/product.py", "report", "desk"},
}
FROM_LAYER = {"numpy": 1, "shapely": 1, "pyproj": 1, "scipy": 2, "skimage": 2}


def modules() -> list[Path]:
    return sorted(SOURCE.rglob("*.py"))


def unit(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imports(path: Path) -> Iterator[tuple[str, str]]:
    """Yield ("own", unit) and ("outside", package) of every import of a module, also inside functions."""
    depth = len(path.relative_to(SOURCE).parts)
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            if node.level < depth:
                continue
            names = [node.module.split(".")[0]] if node.module else [alias.name for alias in node.names]
            yield from (("own", name) for name in names if name != "__version__")
        elif isinstance(node, ast.ImportFrom):
            yield "outside", (node.module or "").split(".")[0]
        elif isinstance(node, ast.Import):
            yield from (("outside", alias.name.split(".")[0]) for alias in node.names)


def strays(path: Path) -> Iterator[str]:
    here = unit(path)
    if here == "__init__":
        return
    place = path.relative_to(SOURCE).as_posix()
    for kind, name in imports(path):
        if kind == "own":
            if name not in LAYER:
                yield f"{place}: unknown unit {name}"
            elif LAYER[name] >= LAYER[here] and (here, name) not in SIDEWAYS:
                yield f"{place} (L{LAYER[here]}) imports {name} (L{LAYER[name]})"
            elif name == "compiled_kernels" and not path.name.endswith("_kernels.py"):
                # What is kept on the disk is stamped with these files: a kernel elsewhere would not be seen.
                yield f"{place} compiles a kernel outside the modules of kernels (_kernels.py)"
            continue
        if name in CONFINED and not any(place.startswith(allowed) for allowed in CONFINED[name]):
            yield f"{place} imports {name}, which is confined to {sorted(CONFINED[name])}"
        if LAYER[here] < FROM_LAYER.get(name, 0):
            yield f"{place} (L{LAYER[here]}) imports {name}"
        if name == "ecowatch":
            yield f"{place} imports ecowatch by its absolute name"


@pytest.mark.parametrize("path", modules(), ids=lambda p: p.relative_to(SOURCE).as_posix())
def test_imports_point_downward_only(path: Path) -> None:
    assert list(strays(path)) == []


def test_a_stray_import_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test can fail: an upward import, a sideways one, a confined library and numba outside kernels."""
    monkeypatch.setattr(f"{__name__}.SOURCE", tmp_path)
    (tmp_path / "detect").mkdir()
    bad = tmp_path / "detect" / "bad.py"
    lines = [
        "from ..review import run",
        "from ..detect import x",
        "import rasterio",
        "from ..compiled_kernels import kernel",
    ]
    bad.write_text("\n".join([*lines, "def f():", "    import numba", ""]))
    found = list(strays(bad))
    assert len(found) == 5, found


def functions() -> Iterator[tuple[str, int]]:
    for path in modules():
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef):
                documented = ast.get_docstring(node) is not None and len(node.body) > 1
                first = node.body[1 if documented else 0].lineno
                yield f"{path.relative_to(SOURCE)}:{node.name}", (node.end_lineno or first) - first + 1


def test_sizes_stay_readable() -> None:
    """Functions of at most 60 lines of code, modules of at most 400 lines, no package of one module."""
    assert [f for f in functions() if f[1] > 60] == []
    assert [str(p) for p in modules() if len(p.read_text("utf-8").splitlines()) > 400] == []
    packages = [p.parent for p in modules() if p.name == "__init__.py" and p.parent != SOURCE]
    assert [str(p) for p in packages if len(list(p.glob("*.py"))) < 3] == []


def test_public_functions_are_documented() -> None:
    bare = []
    for path in modules():
        for node in ast.parse(path.read_text("utf-8")).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                bare += [f"{path.name}:{node.name}"] if not ast.get_docstring(node) else []
    assert bare == []
