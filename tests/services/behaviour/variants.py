"""Which services the behaviour is proved on: every database in both layouts, each error format with both."""

from collections.abc import Callable, Iterable

import pytest

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
# Where results are kept, and other services are called.
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

# Where users sign in: every database, each layout and each error format with two of them.
AUTH = (("auth", "jwt"),)
AUTH_VARIANTS = (
    Variant("feature", "sqlite", "envelope", AUTH),
    Variant("layered", "sqlite", "problem", AUTH),
    Variant("layered", "postgresql", "envelope", AUTH),
    Variant("feature", "mysql", "problem", AUTH),
)
# Where it is limited how often they try.
AUTH_AND_LIMIT = (*AUTH, ("rate_limit", "memory"))
AUTH_AND_LIMIT_VARIANTS = (
    Variant("feature", "sqlite", "envelope", AUTH_AND_LIMIT),
    Variant("layered", "postgresql", "problem", AUTH_AND_LIMIT),
)
# Where there is all that can be added.
EVERYTHING = (*AUTH_AND_LIMIT, *CACHE_AND_CLIENT, *STREAMING, ("websockets", True))
EVERYTHING_VARIANTS = (
    Variant("feature", "sqlite", "envelope", EVERYTHING),
    Variant("layered", "postgresql", "problem", EVERYTHING),
)


def _parametrize(variants: Iterable[Variant]) -> pytest.MarkDecorator:
    params = [
        pytest.param(variant, id=str(variant), marks=pytest.mark.xdist_group(variant.database)) for variant in variants
    ]
    return pytest.mark.parametrize("variant", params, indirect=True, scope="session")


def where(condition: Callable[[Variant], bool], variants: Iterable[Variant] = VARIANTS) -> pytest.MarkDecorator:
    """Run a test on the variants that meet a condition."""
    return _parametrize(variant for variant in variants if condition(variant))


ROOMS = (
    Variant("feature", "sqlite", "envelope", (("websockets", True),)),
    Variant("layered", "none", "problem", (("websockets", True),)),
)

everywhere = _parametrize(VARIANTS)
with_database = where(lambda variant: variant.database != "none")
with_server = where(lambda variant: variant.database in {"postgresql", "mysql"})
with_file = where(lambda variant: variant.database == "sqlite")
once_per_database = where(lambda variant: variant.layout == "feature" and variant.database != "none")
with_rooms = _parametrize(ROOMS)
once_with_rooms = _parametrize(ROOMS[:1])
with_rooms_and_auth = _parametrize([Variant("feature", "sqlite", "envelope", (("auth", "jwt"), ("websockets", True)))])
once_per_format = where(lambda variant: variant.database == "sqlite")
with_cache_and_client = _parametrize(CACHE_AND_CLIENT_VARIANTS)
with_cache_and_database = _parametrize(variant for variant in CACHE_AND_CLIENT_VARIANTS if variant.database != "none")
once_with_client = _parametrize(CACHE_AND_CLIENT_VARIANTS[:1])
with_streams = _parametrize(STREAMING_VARIANTS)
once_with_streams = _parametrize(STREAMING_VARIANTS[:1])
with_auth = _parametrize(AUTH_VARIANTS)
with_auth_and_limit = _parametrize(AUTH_AND_LIMIT_VARIANTS)
with_everything = _parametrize(EVERYTHING_VARIANTS)
