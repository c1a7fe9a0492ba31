"""The signed-in read, with the garbage collector set as in the service."""

import gc

from orders_auth import app

__all__ = ["app"]

gc.collect()
gc.freeze()
gc.set_threshold(10_000, 20, 50)
