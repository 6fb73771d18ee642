"""Every code of an error is said where a user looks it up."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
_FORM = re.compile(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)+|[A-Z]{4,}")


def raised() -> dict[str, str]:
    """Where each code is raised: the first argument of an error."""
    found = {}
    for path in sorted((ROOT / "src" / "ecowatch").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            name = node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else ""
            if name.endswith("Error") and node.args and isinstance(node.args[0], ast.Constant):  # type: ignore[attr-defined]
                code = node.args[0].value  # type: ignore[attr-defined]
                if isinstance(code, str) and _FORM.fullmatch(code):
                    found.setdefault(code, f"{path.name}:{node.lineno}")
    return found


def test_every_code_is_explained() -> None:
    told = "".join(path.read_text("utf-8") for path in (ROOT / "docs").glob("*.md"))
    codes = raised()
    assert len(codes) > 150
    assert {code: where for code, where in codes.items() if f"`{code}`" not in told} == {}
