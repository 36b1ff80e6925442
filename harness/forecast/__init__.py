"""The cliff before training: metrics of the extrapolated target π_λ over a grid of λ, by drawing from it."""

from harness.forecast.config import ForecastConfig
from harness.forecast.job import forecast
from harness.forecast.look import FirstLook, first_look
from harness.runs.forecast_record import Forecast, Point, Student

__all__ = ["FirstLook", "Forecast", "ForecastConfig", "Point", "Student", "first_look", "forecast"]
