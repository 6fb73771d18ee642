"""Settings: the shipped files, the complaints, the periods."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest
from pydantic import ValidationError

from ecowatch.errors import ConfigError, ExitCode
from ecowatch.settings import Cluster, LedgerSettings, Pipeline, Review, load, shipped_files

ROOT = Path(__file__).parents[2]
SHIPPED = {name: text for name, text in shipped_files().items() if name.endswith(".toml")}


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_files_are_what_the_models_print(name: str) -> None:
    assert (ROOT / name).read_text("utf-8") == SHIPPED[name], "run 'make config'"


def test_every_shipped_file_is_printed_from_a_model() -> None:
    on_disk = {
        p.relative_to(ROOT).as_posix() for folder in ("configs", "pipelines") for p in (ROOT / folder).glob("*.toml")
    }
    assert on_disk == set(SHIPPED)


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_files_load_to_the_values_they_were_printed_from(name: str, tmp_path: Path) -> None:
    models = {"pipelines": Pipeline, "configs/cluster": Cluster, "configs/ledger": LedgerSettings}
    model = next((model for start, model in models.items() if name.startswith(start)), Review)
    first = load(model, ROOT / name)
    assert first.digest() == load(model, ROOT / name).digest()
    if model is Pipeline:
        assert first.name == Path(name).stem


def broken(tmp_path: Path, model: type, text: str) -> ConfigError:
    path = tmp_path / "settings.toml"
    path.write_text(text, "utf-8")
    with pytest.raises(ConfigError) as caught:
        load(model, path)
    assert caught.value.exit_code == ExitCode.BAD_CONFIG
    assert "settings.toml" in str(caught.value)
    return caught.value


def test_an_unknown_key_gets_the_nearest_known_one(tmp_path: Path) -> None:
    error = broken(tmp_path, Pipeline, "[detect]\nweak_sgma = 3\n")
    assert "unknown key 'detect.weak_sgma'" in str(error)
    assert "did you mean 'weak_sigma'?" in str(error)


def test_an_unknown_key_in_a_list_of_tables_is_named_with_its_place(tmp_path: Path) -> None:
    text = SHIPPED["configs/half_yearly.toml"].replace('id_field = "area_id"', 'id_feld = "area_id"')
    error = broken(tmp_path, Review, text)
    assert "areas[0].id_feld" in str(error) and "id_field" in error.remedy


@pytest.mark.parametrize(
    ("model", "text", "words"),
    [
        (Cluster, "workers = 0", "workers"),
        (Cluster, "tile_px = 1000", "multiple"),
        (Cluster, 'scheduler = "ftp://x"', "tcp://"),
        (Pipeline, "[prepare]\nerode_px = 99", "erode_px"),
        (Pipeline, "a = ", "settings.toml"),
    ],
)
def test_wrong_values_name_the_key(tmp_path: Path, model: type, text: str, words: str) -> None:
    assert words in str(broken(tmp_path, model, text))


@pytest.mark.parametrize("period", ["2026H3", "26H1", "2026-01", "H1"])
def test_a_period_that_is_none(tmp_path: Path, period: str) -> None:
    text = SHIPPED["configs/half_yearly.toml"].replace('"2026H1"', f'"{period}"')
    assert "2026H1, 2026H2, 2026" in str(broken(tmp_path, Review, text))


def test_a_date_pattern_without_a_date(tmp_path: Path) -> None:
    text = SHIPPED["configs/half_yearly.toml"].replace(r"(?P<date>\d{8})", r"\d{8}")
    assert "group named 'date'" in str(broken(tmp_path, Review, text))


def test_a_missing_file_is_bad_configuration(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="CONFIG_MISSING"):
        load(Review, tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("period", "after", "before"),
    [
        ("2026H1", (date(2026, 1, 1), date(2026, 6, 30)), (date(2025, 1, 1), date(2025, 6, 30))),
        ("2026H2", (date(2026, 7, 1), date(2026, 12, 31)), (date(2025, 7, 1), date(2025, 12, 31))),
        ("2024", (date(2024, 1, 1), date(2024, 12, 31)), (date(2023, 1, 1), date(2023, 12, 31))),
    ],
)
def test_periods_and_the_same_season_a_year_before(
    period: str, after: tuple[date, date], before: tuple[date, date]
) -> None:
    review = load(Review, ROOT / "configs/half_yearly.toml").model_copy(update={"period": period})
    assert (tuple(review.after_range), tuple(review.before_range)) == (after, before)


def test_relative_paths_count_from_the_file() -> None:
    review = load(Review, ROOT / "configs/half_yearly.toml")
    assert review.areas[0].path.resolve() == ROOT / "sample_data/demo/reserve.geojson"


def test_settings_are_frozen_and_digests_tell_them_apart() -> None:
    pipeline = Pipeline()
    with pytest.raises(ValidationError):
        pipeline.name = "other"  # type: ignore[misc]
    assert pipeline.digest() != pipeline.model_copy(update={"version": "2"}).digest()
