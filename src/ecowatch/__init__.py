"""ecowatch: find and follow human activity in protected areas from satellite and UAV images."""

__version__ = "0.1.0"
