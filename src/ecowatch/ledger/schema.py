"""Tables of ``ledger.db``: the log of events, and the views that are rebuilt from it; migrations by number."""

from __future__ import annotations

APPLICATION_ID = 0x45434F57  # "ECOW"

LOG = """
CREATE TABLE event (
  seq INTEGER PRIMARY KEY, event_id TEXT NOT NULL UNIQUE, kind TEXT NOT NULL, area_id TEXT NOT NULL, period TEXT NOT NULL,
  problem_id TEXT NOT NULL, patch_id TEXT NOT NULL, payload TEXT NOT NULL, actor TEXT NOT NULL, at TEXT NOT NULL,
  prev TEXT NOT NULL, hash TEXT NOT NULL) STRICT;
CREATE TABLE entered (
  seq INTEGER PRIMARY KEY REFERENCES event (seq), at_utc TEXT NOT NULL, host TEXT NOT NULL, pid INTEGER NOT NULL) STRICT;
CREATE INDEX event_of_problem ON event (problem_id) WHERE problem_id <> '';
CREATE TRIGGER event_no_update BEFORE UPDATE ON event BEGIN SELECT raise(ABORT, 'the log is append-only'); END;
CREATE TRIGGER event_no_delete BEFORE DELETE ON event BEGIN SELECT raise(ABORT, 'the log is append-only'); END;
CREATE TRIGGER entered_no_update BEFORE UPDATE ON entered BEGIN SELECT raise(ABORT, 'the log is append-only'); END;
CREATE TRIGGER entered_no_delete BEFORE DELETE ON entered BEGIN SELECT raise(ABORT, 'the log is append-only'); END;
CREATE TABLE head (one INTEGER PRIMARY KEY CHECK (one = 1), seq INTEGER NOT NULL, hash TEXT NOT NULL) STRICT;
INSERT INTO head VALUES (1, 0, '');
CREATE TABLE lease (
  one INTEGER PRIMARY KEY CHECK (one = 1), token INTEGER NOT NULL, holder TEXT NOT NULL, heartbeat TEXT NOT NULL) STRICT;
INSERT INTO lease VALUES (1, 0, '', '');
"""
"""The log itself, its head (a removed last event shows against it), and the writer's fencing token."""

VIEWS = """
CREATE TABLE unit (
  area_id TEXT NOT NULL, period TEXT NOT NULL, issue INTEGER NOT NULL, inputs TEXT NOT NULL, inputs_digest TEXT NOT NULL,
  run_id TEXT NOT NULL, observed_share REAL NOT NULL, patches INTEGER NOT NULL, seq INTEGER NOT NULL,
  PRIMARY KEY (area_id, period)) STRICT;
CREATE TABLE patch (
  patch_id TEXT PRIMARY KEY, area_id TEXT NOT NULL, period TEXT NOT NULL, issue INTEGER NOT NULL, problem_id TEXT NOT NULL,
  change_code TEXT NOT NULL, activity_code TEXT NOT NULL, direction TEXT NOT NULL, area_m2 REAL NOT NULL,
  before_date TEXT NOT NULL, after_date TEXT NOT NULL, pipeline TEXT NOT NULL, facts TEXT NOT NULL, geometry BLOB NOT NULL,
  line BLOB, seq INTEGER NOT NULL) STRICT;
CREATE INDEX patch_of_unit ON patch (area_id, period);
CREATE INDEX patch_of_problem ON patch (problem_id);
CREATE TABLE problem (
  problem_id TEXT PRIMARY KEY, area_id TEXT NOT NULL, state TEXT NOT NULL, opened_period TEXT NOT NULL,
  last_period TEXT NOT NULL, last_change TEXT NOT NULL, activity_code TEXT NOT NULL, activity_found TEXT NOT NULL,
  area_m2 REAL NOT NULL, area_found_m2 REAL NOT NULL, area_verified_m2 REAL, stock INTEGER NOT NULL,
  relapses INTEGER NOT NULL, merged_into TEXT NOT NULL, parents TEXT NOT NULL, withdrawn INTEGER NOT NULL,
  responsible TEXT NOT NULL, deadline TEXT NOT NULL, rectification TEXT NOT NULL, evidence TEXT NOT NULL,
  geometry BLOB NOT NULL, seq INTEGER NOT NULL) STRICT;
CREATE INDEX problem_of_area ON problem (area_id);
CREATE TABLE history (
  problem_id TEXT NOT NULL, period TEXT NOT NULL, change_code TEXT NOT NULL, area_m2 REAL NOT NULL, delta_m2 REAL NOT NULL,
  patches TEXT NOT NULL, geometry BLOB, seq INTEGER NOT NULL, PRIMARY KEY (problem_id, period)) STRICT, WITHOUT ROWID;
CREATE TABLE verdict (
  event_id TEXT PRIMARY KEY, problem_id TEXT NOT NULL, patch_id TEXT NOT NULL, verdict TEXT NOT NULL, reason TEXT NOT NULL,
  activity_code TEXT NOT NULL, area_m2 REAL, note TEXT NOT NULL, reviewer TEXT NOT NULL, at TEXT NOT NULL,
  seq INTEGER NOT NULL) STRICT;
CREATE INDEX verdict_of_problem ON verdict (problem_id);
CREATE TABLE area_version (
  area_id TEXT NOT NULL, version TEXT NOT NULL, name TEXT NOT NULL, kind TEXT NOT NULL, grade TEXT NOT NULL,
  valid_from TEXT NOT NULL, valid_to TEXT NOT NULL, zones TEXT NOT NULL, geometry BLOB NOT NULL, changes TEXT NOT NULL,
  seq INTEGER NOT NULL, PRIMARY KEY (area_id, version, valid_from)) STRICT;
CREATE TABLE not_observed (
  area_id TEXT NOT NULL, period TEXT NOT NULL, pipeline TEXT NOT NULL, reason TEXT NOT NULL, area_m2 REAL NOT NULL,
  geometry BLOB NOT NULL, seq INTEGER NOT NULL) STRICT;
CREATE INDEX not_observed_of_unit ON not_observed (area_id, period);
CREATE TABLE baseline (
  area_id TEXT PRIMARY KEY, as_of TEXT NOT NULL, digest TEXT NOT NULL, problems INTEGER NOT NULL, area_m2 REAL NOT NULL,
  geometry BLOB NOT NULL, signed_by TEXT NOT NULL, seq INTEGER NOT NULL) STRICT;
CREATE TABLE apart (patch_a TEXT NOT NULL, patch_b TEXT NOT NULL, seq INTEGER NOT NULL, PRIMARY KEY (patch_a, patch_b)) STRICT;
CREATE TABLE signed (period TEXT PRIMARY KEY, at TEXT NOT NULL, actor TEXT NOT NULL, head TEXT NOT NULL, seq INTEGER NOT NULL)
  STRICT;
CREATE TABLE clue (
  clue_id TEXT PRIMARY KEY, problems TEXT NOT NULL, receiver TEXT NOT NULL, deadline TEXT NOT NULL, digest TEXT NOT NULL,
  handed_over_at TEXT NOT NULL, received_at TEXT NOT NULL, receipt TEXT NOT NULL, seq INTEGER NOT NULL) STRICT;
CREATE TABLE package (
  package_id TEXT PRIMARY KEY, sender TEXT NOT NULL, receipt TEXT NOT NULL, at TEXT NOT NULL, seq INTEGER NOT NULL) STRICT;
"""
"""What the events add up to; dropped and rebuilt by replay whenever they are in doubt."""

VIEW_TABLES = (
    "unit",
    "patch",
    "problem",
    "history",
    "verdict",
    "area_version",
    "not_observed",
    "baseline",
    "apart",
    "signed",
    "clue",
    "package",
)

MIGRATIONS: tuple[str, ...] = (LOG + VIEWS,)
"""Migration n leads from schema version n to n + 1; never edited once released, only added to."""

VERSION = len(MIGRATIONS)
