"""Tests of ecowatch.evaluate."""
