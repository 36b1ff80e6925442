"""The cliff before training: metrics of the extrapolated target π_λ over a grid of λ, by drawing from it."""

from harness.forecast.config import ForecastConfig
from harness.forecast.job import forecast
from harness.forecast.result import Forecast, Point, Student

__all__ = ["Forecast", "ForecastConfig", "Point", "Student", "forecast"]
