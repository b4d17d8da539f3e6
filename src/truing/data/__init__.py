"""Data: every format read into examples and written back, honest splits, resumable order, a cache by content."""

from truing.data.cache import Cache
from truing.data.describe import describe
from truing.data.files import beside, check_target
from truing.data.formats import FORMATS
from truing.data.order import Draws, Order
from truing.data.read import Counts, Dataset, read
from truing.data.split import split
from truing.data.views import comparisons, demonstrations, labelled
from truing.data.write import losses, write

__all__ = [
    "FORMATS",
    "Cache",
    "Counts",
    "Dataset",
    "Draws",
    "Order",
    "beside",
    "check_target",
    "comparisons",
    "demonstrations",
    "describe",
    "labelled",
    "losses",
    "read",
    "split",
    "write",
]
