"""Users of a service, their tokens, and forged tokens."""

import base64
import hashlib
import hmac
import json
import uuid
from collections.abc import Collection, Mapping
from typing import Any, Self

import httpx2

from tests.services.running import PACKAGE, PASSWORD, SECRET_KEY, Project, Service, Settings, new_reference

API = "/api/v1"
ME = f"{API}/users/me"
ORDERS = f"{API}/orders"
# A value of RATE_LIMIT_ROUTES that effectively disables the limits on sign-in.
NO_LIMITS = ",".join(
    f"{name}=1000000/second" for name in ("change_password", "log_in", "refresh_tokens", "register_user")
)
# The parts that differ between two responses to the same request.
PASSING_HEADERS = {"date", "x-request-id", "x-process-time-ms", "server-timing"}
SIGNING_KEY = hmac.digest(SECRET_KEY.encode(), b"access-token", "sha256")


def new_email() -> str:
    """Return an email address without an account."""
    return f"{uuid.uuid4().hex}@shop.example"


class Account:
    """A signed-in user.

    Args:
        service: The service.
        email: The email address of an existing account.
        password: Its password.
    """

    def __init__(self, service: Service, email: str, password: str = PASSWORD) -> None:
        self.service = service
        self.email = email
        self.password = password
        self.take(service.log_in(email, password))
        self.id: str = self.request("GET", ME).json()["id"]

    @classmethod
    def new(cls, service: Service, password: str = PASSWORD) -> Self:
        """Register a new user."""
        email = new_email()
        registered = service.register(email, password)
        assert registered.status_code == 201, registered.text
        return cls(service, email, password)

    @classmethod
    def new_admin(cls, service: Service, project: Project, settings: Settings) -> Self:
        """Create an admin with the command of the operator."""
        email = new_email()
        made = create_admin(project, settings, email)
        assert made.returncode == 0, made.stdout + made.stderr
        return cls(service, email)

    def take(self, answer: httpx2.Response) -> None:
        """Use the tokens of a response in later requests."""
        assert answer.status_code == 200, answer.text
        self.access_token: str = answer.json()["access_token"]
        self.refresh_token: str = answer.json()["refresh_token"]

    def request(self, method: str, path: str, **options: Any) -> httpx2.Response:
        """Send a request as this user."""
        return self.service.client.request(method, path, headers=bearer(self.access_token), **options)

    def create_order(self) -> str:
        """Create an order and return its URL."""
        created = self.service.create_order(new_reference(), headers=bearer(self.access_token))
        assert created.status_code == 201, created.text
        return created.headers["location"]

    def change_password(self, new: str) -> httpx2.Response:
        """Request a password change and keep the old tokens."""
        body = {"current_password": self.password, "new_password": new}
        return self.request("POST", f"{API}/auth/password", json=body)


def create_admin(project: Project, settings: Settings, email: str, password: str = PASSWORD) -> Any:
    """Run the command that creates an admin."""
    return project.run("-m", PACKAGE, "create-admin", email, settings=settings, typed=f"{password}\n")


def refresh(service: Service, token: str) -> httpx2.Response:
    """Exchange a refresh token for new tokens."""
    return _send(service, "refresh", token)


def log_out(service: Service, token: str) -> httpx2.Response:
    """End the session of a token."""
    return _send(service, "logout", token)


def _send(service: Service, route: str, token: str) -> httpx2.Response:
    # In ASCII, because a forged token may contain invalid text.
    body = json.dumps({"refresh_token": token})
    return service.request("POST", f"{API}/auth/{route}", content=body, headers={"Content-Type": "application/json"})


def bearer(token: str) -> dict[str, str]:
    """Return the header that carries a token."""
    return {"Authorization": f"Bearer {token}"}


def refused(service: Service, response: httpx2.Response) -> str:
    """Check that a response requires authentication as the standard defines it, and return its text."""
    failure = service.failure(response, 401)
    assert failure.code == "not_authenticated"
    assert response.headers["www-authenticate"].split()[0] == "Bearer"
    return failure.message


def comparable(response: httpx2.Response) -> tuple[int, dict[str, str], str]:
    """Return the parts of a response that must not depend on which accounts exist."""
    headers = {name: value for name, value in response.headers.items() if name not in PASSING_HEADERS}
    return response.status_code, headers, response.text.replace(response.headers["x-request-id"], "")


def claims_of(token: str) -> dict[str, Any]:
    """Return the claims of an access token."""
    claims: dict[str, Any] = json.loads(_decoded(token.split(".")[1]))
    return claims


def forge(
    token: str,
    *,
    key: bytes = SIGNING_KEY,
    digest: str = "sha256",
    header: Mapping[str, Any] | None = None,
    claims: Mapping[str, Any] | None = None,
    without: Collection[str] = (),
) -> str:
    """Return an access token with other contents and a new signature, without the library under test.

    Args:
        token: The original token.
        key: The signing key.
        digest: The digest of the signature.
        header: Changes to the header.
        claims: Changes to the claims.
        without: Names to remove from the header and the claims.
    """
    old_header, old_claims, _ = token.split(".")
    parts = [
        json.loads(_decoded(old_header)) | dict(header or {}),
        json.loads(_decoded(old_claims)) | dict(claims or {}),
    ]
    text = ".".join(
        _encoded(json.dumps({name: value for name, value in part.items() if name not in without}).encode())
        for part in parts
    )
    return f"{text}.{_encoded(hmac.digest(key, text.encode(), digest))}"


def unsigned(token: str) -> str:
    """Return a token with an empty signature."""
    return token.rpartition(".")[0] + "."


def sha256(token: str) -> str:
    """Return a hash in the form of a stored refresh token."""
    return hashlib.sha256(token.encode()).hexdigest()


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
