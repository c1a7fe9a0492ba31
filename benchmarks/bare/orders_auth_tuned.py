"""The read of whoever is signed in again, with the garbage collector as the service sets it."""

import gc

from orders_auth import app

__all__ = ["app"]

gc.collect()
gc.freeze()
gc.set_threshold(10_000, 20, 50)
