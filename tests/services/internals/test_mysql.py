"""MySQL only: ended connections, and URLs."""

from ssl import CERT_NONE, CERT_REQUIRED, VerifyMode

import pytest
from fastapi import FastAPI
from sqlalchemy import make_url, text

from app.core.db.engine import split_parameters
from app.core.errors import UnavailableError
from tests.conftest import State


async def test_broken_connection_is_unavailable(app: FastAPI, state: State) -> None:
    """A server that ends the connection under a request is not the client's fault."""
    with pytest.raises(UnavailableError):
        async with state["database"].session() as session:
            victim = await session.scalar(text("SELECT CONNECTION_ID()"))
            await session.execute(text(f"KILL {victim}"))
            await session.execute(text("SELECT 1"))
    await state["database"].check()


@pytest.mark.parametrize(
    ("mode", "verify", "hostname"),
    [
        ("REQUIRED", CERT_NONE, False),
        ("VERIFY_CA", CERT_REQUIRED, False),
        ("VERIFY_IDENTITY", CERT_REQUIRED, True),
    ],
)
def test_ssl_mode(mode: str, verify: VerifyMode, hostname: bool) -> None:
    """Encrypt and verify as a mode of MySQL's own clients says."""
    url, tls = split_parameters(make_url(f"mysql+asyncmy://app@database/app?ssl-mode={mode}"))
    assert not url.query
    assert tls
    assert (tls.verify_mode, tls.check_hostname) == (verify, hostname)
