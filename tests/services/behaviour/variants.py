"""The services of the behavior tests: every database in both layouts, and each error format with both.

`.ci/run` tests a behavior on one service, or on one for each database if they can differ. `.ci/full` tests it on all
variants here.
"""

from collections.abc import Callable, Collection, Iterable, Sequence

import pytest
from _pytest.mark.structures import ParameterSet

from tests.services.running import Variant

VARIANTS = (
    Variant("feature", "sqlite", "envelope"),
    Variant("layered", "sqlite", "problem"),
    Variant("feature", "postgresql", "problem"),
    Variant("layered", "postgresql", "envelope"),
    Variant("feature", "mysql", "envelope"),
    Variant("layered", "mysql", "problem"),
    Variant("feature", "none", "problem"),
    Variant("layered", "none", "envelope"),
)
# With a cache and an HTTP client.
CACHE_AND_CLIENT = (("cache", "memory"), ("http_client", True))
CACHE_AND_CLIENT_VARIANTS = (
    Variant("feature", "sqlite", "envelope", CACHE_AND_CLIENT),
    Variant("layered", "postgresql", "problem", CACHE_AND_CLIENT),
    Variant("feature", "mysql", "problem", CACHE_AND_CLIENT),
    Variant("layered", "none", "envelope", CACHE_AND_CLIENT),
)

STREAMING = (("streaming", True),)
STREAMING_VARIANTS = (
    Variant("feature", "sqlite", "envelope", STREAMING),
    Variant("layered", "postgresql", "envelope", STREAMING),
    Variant("feature", "mysql", "problem", STREAMING),
    Variant("layered", "none", "problem", STREAMING),
)

# With authentication: every database, and each layout and error format with two of them.
AUTH = (("auth", "jwt"),)
AUTH_VARIANTS = (
    Variant("feature", "sqlite", "envelope", AUTH),
    Variant("layered", "sqlite", "problem", AUTH),
    Variant("layered", "postgresql", "envelope", AUTH),
    Variant("feature", "mysql", "problem", AUTH),
)
# With a rate limit.
AUTH_AND_LIMIT = (*AUTH, ("rate_limit", "memory"))
AUTH_AND_LIMIT_VARIANTS = (
    Variant("feature", "sqlite", "envelope", AUTH_AND_LIMIT),
    Variant("layered", "postgresql", "problem", AUTH_AND_LIMIT),
)
# With all optional parts.
EVERYTHING = (*AUTH_AND_LIMIT, *CACHE_AND_CLIENT, *STREAMING, ("websockets", True))
EVERYTHING_VARIANTS = (
    Variant("feature", "sqlite", "envelope", EVERYTHING),
    Variant("layered", "postgresql", "problem", EVERYTHING),
)


# The variants of `.ci/run` for differences between databases, layouts or error formats.
ONE_PER_DATABASE = (VARIANTS[0], VARIANTS[2], VARIANTS[5], VARIANTS[7])


def _parametrize(variants: Iterable[Variant], soon: Collection[Variant] | None = None) -> pytest.MarkDecorator:
    """Run a test on variants.

    Args:
        variants: All variants, for `.ci/full`.
        soon: The variants for `.ci/run`. By default all of them.
    """
    return pytest.mark.parametrize("variant", [_param(each, soon) for each in variants], indirect=True, scope="session")


def _param(variant: Variant, soon: Collection[Variant] | None) -> ParameterSet:
    late = soon is not None and variant not in soon
    return pytest.param(variant, id=str(variant), marks=pytest.mark.full if late else ())


def where(condition: Callable[[Variant], bool], variants: Sequence[Variant] = VARIANTS) -> pytest.MarkDecorator:
    """Run a test on the variants that meet a condition. `.ci/run` uses one of them for each database."""
    met = [variant for variant in variants if condition(variant)]
    preferred = [variant for variant in met if variant in ONE_PER_DATABASE]
    return _parametrize(met, {variant.database: variant for variant in [*reversed(met), *preferred]}.values())


ROOMS = (
    Variant("feature", "sqlite", "envelope", (("websockets", True),)),
    Variant("layered", "none", "problem", (("websockets", True),)),
)

# The storage of amounts: in new services, and in those from before 0.4.0.
CENTS = (("amounts", "cents"),)
AMOUNTS = (
    *(Variant("feature", database, "envelope") for database in ("sqlite", "postgresql", "mysql")),
    *(Variant("feature", database, "envelope", CENTS) for database in ("postgresql", "mysql")),
)

everywhere = where(lambda _: True)
once = _parametrize(VARIANTS, VARIANTS[:1])
once_per_format = _parametrize(VARIANTS, ONE_PER_DATABASE[:2])
with_database = where(lambda variant: variant.database != "none")
once_without_database = _parametrize([Variant("feature", "none", "problem")])
with_server = where(lambda variant: variant.database in {"postgresql", "mysql"})
with_file = where(lambda variant: variant.database == "sqlite")
with_amounts = _parametrize(AMOUNTS)
once_with_file = _parametrize(VARIANTS[:2], VARIANTS[:1])
once_per_database = where(lambda variant: variant.layout == "feature" and variant.database != "none")
with_rooms = _parametrize(ROOMS, ROOMS[:1])
once_with_rooms = _parametrize(ROOMS[:1])
with_rooms_and_auth = _parametrize([Variant("feature", "sqlite", "envelope", (("auth", "jwt"), ("websockets", True)))])
with_cache_and_client = _parametrize(CACHE_AND_CLIENT_VARIANTS, CACHE_AND_CLIENT_VARIANTS[1:2])
with_cache_and_database = where(lambda variant: variant.database != "none", CACHE_AND_CLIENT_VARIANTS)
once_with_client = _parametrize(CACHE_AND_CLIENT_VARIANTS[:1])
with_streams = _parametrize(STREAMING_VARIANTS, STREAMING_VARIANTS[1:2])
once_with_streams = _parametrize(STREAMING_VARIANTS[:1])
with_auth = _parametrize(AUTH_VARIANTS, AUTH_VARIANTS[2:3])
with_auth_and_database = where(lambda _: True, AUTH_VARIANTS)
with_auth_and_limit = _parametrize(AUTH_AND_LIMIT_VARIANTS, AUTH_AND_LIMIT_VARIANTS[1:])
with_everything = _parametrize(EVERYTHING_VARIANTS, EVERYTHING_VARIANTS[1:])
once_with_everything = _parametrize(EVERYTHING_VARIANTS[:1])
