"""Invalid requests get the uniform error with the right status, and no secret appears in any log."""

import json
import re
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.services.behaviour.conftest import ORIGIN
from tests.services.behaviour.variants import everywhere, once, once_per_format, once_with_file, with_database
from tests.services.running import Project, Service, new_reference, order

# Sent in every place where clients put secrets. No log line and no error may contain it.
SECRET = "hush-hush-0123456789"
LIMIT = 1_048_576
UUID7 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
ORDERS = "/api/v1/orders"
NOWHERE = f"{ORDERS}/{uuid.UUID(int=7)}"
JSON = {"Content-Type": "application/json"}


@dataclass(frozen=True)
class Case:
    """A request and its valid statuses."""

    name: str
    statuses: set[int]
    method: str = "GET"
    target: str = ORDERS
    body: bytes | None = None
    headers: Mapping[str, str | bytes] = field(default_factory=dict)

    def request(self) -> bytes:
        """Return the request in bytes, because a client library would reject or correct it."""
        join = "&" if "?" in self.target else "?"
        target = self.target if self.target.startswith("*") else f"{self.target}{join}token={SECRET}"
        headers: dict[str, str | bytes] = {"Host": "shop", "Authorization": f"Bearer {SECRET}", **self.headers}
        if self.body is not None and "Transfer-Encoding" not in headers and "Content-Length" not in headers:
            headers["Content-Length"] = str(len(self.body))
        lines = [f"{self.method} {target} HTTP/1.1".encode("latin-1")]
        for name, value in headers.items():
            lines.append(name.encode() + b": " + (value if isinstance(value, bytes) else value.encode("latin-1")))
        return b"\r\n".join([*lines, b"", self.body or b""])


def posted(name: str, body: Any, *statuses: int, **headers: str) -> Case:
    """Return a case that posts a body as JSON or as bytes."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Case(name, set(statuses) or {422}, "POST", ORDERS, content, JSON | headers)


def changed(**fields: Any) -> dict[str, Any]:
    """Return a valid order with changed values, including the secret."""
    return order(new_reference()) | {"note": SECRET} | fields


def line(**fields: Any) -> dict[str, Any]:
    """Return a valid order with changed values in its line."""
    good = order(new_reference())
    return good | {"note": SECRET, "lines": [good["lines"][0] | fields]}


def with_number(text: str) -> bytes:
    """Return an order with a quantity that `json` would not write."""
    return json.dumps(line(quantity=12345)).replace("12345", text).encode()


def with_price(text: str) -> bytes:
    """Return an order with a price that `json` would not write."""
    return json.dumps(line(unit_price=12345)).replace("12345", text).encode()


def chunked(size: int) -> bytes:
    """Return a chunked body of zeros."""
    chunk = b"0" * 65536
    whole, rest = divmod(size, len(chunk))
    chunks = [chunk] * whole + [chunk[:rest]] * bool(rest)
    return b"".join(b"%x\r\n%s\r\n" % (len(data), data) for data in chunks) + b"0\r\n\r\n"


def query(name: str, text: str, *statuses: int) -> Case:
    """Return a case that requests the list with a query."""
    return Case(name, set(statuses) or {422}, target=f"{ORDERS}?{text}")


BODIES = [
    posted("no object", [SECRET]),
    posted("a string", SECRET),
    posted("null", None),
    posted("an empty object", {}),
    posted("a number for a string", changed(reference=5)),
    posted("an object for a string", changed(customer={"name": SECRET})),
    posted("a string for a list", changed(lines=SECRET)),
    posted("no lines", changed(lines=[])),
    posted("too many lines", changed(lines=order("x")["lines"] * 101)),
    posted("an unknown field", changed(password=SECRET)),
    posted("an unknown field in a line", line(password=SECRET)),
    posted("a field of the server's", changed(status="shipped")),
    posted("a fault per field", {"reference": SECRET * 9, "customer": "", "note": 5, "lines": [{}]}),
    posted("a long string", changed(customer="x" * 201)),
    posted("a blank string", changed(customer="   ")),
    posted("a NUL byte in a text", changed(customer="Jane\0Doe")),
    posted("a NUL byte in a code", changed(reference="A\0")),
    posted("a line break in a text", changed(customer="Jane\nDoe")),
    posted("an escape sequence in a text", changed(customer="Jane\x1b[31m")),
    posted("a lone surrogate", changed(customer="Jane \ud800"), 400, 422),
    posted("a lone surrogate as a key", changed(**{"\udfff": SECRET}), 400, 422),
    posted("a fraction for a whole number", line(quantity=1.5)),
    posted("zero pieces", line(quantity=0)),
    posted("a huge number", with_number("9" * 400)),
    posted("a number too long to read", with_number("9" * 5000), 400, 422),
    posted("a number beyond floats", with_number("1e999"), 400, 422),
    *(
        posted(f"a price of {text[:12]}", with_price(text), 400, 422)
        for text in ("NaN", "Infinity", "-Infinity", "1e400", "1e-400", "9" * 5000, '"NaN"', '"Infinity"', '"-1"')
    ),
    *(
        posted(f"a price of '{text[:12]}'", with_price(text), 422)
        for text in ('"0.001"', '"1e3"', '"1_0"', '" 1"', '"\\u0661"', '"1,5"', '""', "true", "[]", '"12345678"')
    ),
    posted("no JSON", SECRET.encode(), 400, 422),
    posted("half of a JSON text", b'{"reference": "' + SECRET.encode(), 400, 422),
    posted("an empty body", b""),
    posted("invalid UTF-8", b'{"reference": "\xff\xfe"}', 400, 422),
    posted("UTF-16", json.dumps(changed(extra=1)).encode("utf-16"), 400, 422),
    posted("deep lists", b"[" * 100_000 + b"]" * 100_000, 400, 422),
    posted("deep objects", b'{"a":' * 100_000 + b"1" + b"}" * 100_000, 400, 422),
    posted("deep lists in a field", b'{"customer": ' + b"[" * 400_000 + b"]" * 400_000 + b"}", 400, 422),
    posted("many keys", {f"key{number}": SECRET for number in range(10_000)}),
    posted("another content type", changed(), 422, **{"Content-Type": "text/plain"}),
    posted("a form", f"reference={SECRET}".encode(), 422, **{"Content-Type": "application/x-www-form-urlencoded"}),
    posted("a broken content type", changed(), 422, **{"Content-Type": "application/"}),
    posted("packed as it says", b"\x1f\x8b\x08\0\0", 400, 422, **{"Content-Encoding": "gzip"}),
    Case("no content type", {422}, "POST", ORDERS, json.dumps(changed()).encode()),
    posted("a body over the limit", b"0" * (LIMIT + 1), 413),
    posted("a body announced over the limit", b"", 413, **{"Content-Length": str(LIMIT + 1)}),
    posted("a body announced far over the limit", b"", 400, 413, **{"Content-Length": str(10**15)}),
    posted("chunks over the limit", chunked(LIMIT + 1), 413, **{"Transfer-Encoding": "chunked"}),
    posted("chunks far over the limit", chunked(4 * LIMIT), 413, **{"Transfer-Encoding": "chunked"}),
    Case("a huge body for a route without one", {200}, "GET", ORDERS, b"0" * (LIMIT + 1)),
    Case("a change with wrong types", {404, 422}, "PATCH", NOWHERE, b'{"customer": 5}', JSON),
    Case("a change to null", {404, 422}, "PATCH", NOWHERE, b'{"customer": null}', JSON),
    Case("a change to an unknown status", {404, 422}, "PATCH", NOWHERE, b'{"status": "lost"}', JSON),
]
QUERIES = [
    *(query(f"page={text[:12]}", f"page={text}") for text in ("0", "-1", "1" + "0" * 30, "9" * 5000, "abc", "1.5", "")),
    *(query(f"size={text[:12]}", f"size={text}") for text in ("0", "-1", "101", "1000", "1e9", "NaN", "%00", "%FF")),
    query("an unknown status", f"status={SECRET}"),
    query("a NUL byte", "status=%00"),
    query("invalid UTF-8", "status=%FF%FE"),
    query("no date", "created_from=yesterday"),
    query("a date without a zone", "created_from=2026-01-01T00:00:00"),
    query("a number for a date", "created_from=1e999"),
    query("a year too late", "created_from=10000-01-01T00:00:00Z"),
    query("an empty range", "created_from=2026-01-02T00:00:00Z&created_to=2026-01-01T00:00:00Z"),
    *(
        Case(f"cursor={text[:12]}", {422}, target=f"{ORDERS}/feed?cursor={text}")
        for text in (SECRET, "", "=", "%00", "%FF", "A" * 22, f"{'A' * 21}B==", "A" * 43, "A" * 5000, "%F0%9F%92%A9")
    ),
    Case("limit=0", {422}, target=f"{ORDERS}/feed?limit=0"),
    Case("limit=101", {422}, target=f"{ORDERS}/feed?limit=101"),
]
TARGETS = [
    Case("an unknown route", {404}, target="/api/v1/nothing"),
    Case("an unknown version", {404}, target="/api/v0/orders"),
    Case("a slash too many", {307, 404}, target=f"{ORDERS}/"),
    Case("no such order", {404}, target=NOWHERE),
    *(
        Case(f"id={text[:20]}", {404, 422}, target=f"{ORDERS}/{text}")
        for text in ("0", "-1", "%00", "%FF", "null", "9" * 5000, f"{uuid.UUID(int=7)}%0A", "%F0%9F%92%A9", SECRET)
    ),
    *(
        Case(f"path {text}", {404}, target=text)
        for text in (
            "/../../etc/passwd",
            "/%2e%2e/%2e%2e/etc/passwd",
            "//etc/passwd",
            f"{ORDERS}/../../../../etc/passwd",
            "/docs/../../../etc/passwd",
            "/..%5c..%5cetc%5cpasswd",
            "/%0d%0aSet-Cookie:%20a=b",
        )
    ),
    Case("an undeclared method", {405}, "PUT"),
    Case("an undeclared method for one order", {405}, "POST", NOWHERE),
    Case("TRACE", {405}, "TRACE"),
    Case("OPTIONS without an origin", {405}, "OPTIONS"),
    Case("HEAD of an unknown route", {404}, "HEAD", "/api/v1/nothing"),
]


@once_per_format
@pytest.mark.parametrize("case", [*BODIES, *QUERIES, *TARGETS], ids=lambda case: case.name)
def test_refused(service: Service, case: Case) -> None:
    """The request is refused with the uniform error, which contains none of its values."""
    response = service.raw(case.request(), case.method)
    if response.status_code < 400:
        # If more than a refusal is valid, the status must be in the list.
        assert response.status_code in case.statuses
        return
    if case.method == "HEAD":
        assert response.status_code in case.statuses
        assert response.content == b""
        assert UUID7.fullmatch(response.headers["x-request-id"])
        return
    failure = service.failure(response, *case.statuses)
    assert SECRET not in response.text
    assert UUID7.fullmatch(response.headers["x-request-id"])
    assert response.headers["x-content-type-options"] == "nosniff"
    if failure.status == 405:
        assert case.method not in response.headers["allow"].split(", ")
    if failure.status == 422:
        assert 0 < len(failure.details) <= 100


@everywhere
def test_accepted_at_the_edge(service: Service) -> None:
    """Unusual but valid requests are accepted."""
    for customer in ("\N{PILE OF POO} \N{SNOWMAN}", "Zoë O'Hara; DROP TABLE orders; --", "x" * 200, "用户"):
        created = service.client.post(ORDERS, json=changed(customer=customer, note="{}%s\\"))
        assert created.status_code == 201, created.text
        read = service.client.get(created.headers["location"])
        assert read.json() == created.json()
        assert read.json()["customer"] == customer
    edges = [
        f"{ORDERS}?page=100000&size=100",
        f"{ORDERS}?page=1&page=2&size=1&size=2",
        f"{ORDERS}?created_from=0001-01-01T00:00:00Z",
        f"{ORDERS}?created_to=9999-12-31T23:59:59Z",
        f"{ORDERS}/feed?limit=100",
    ]
    for edge in edges:
        assert service.request("GET", edge).status_code == 200, edge
    most = changed(lines=order("x")["lines"] * 100)
    assert service.client.post(ORDERS, json=most).status_code == 201
    dearest = line(quantity=10_000, unit_price="9999999.99")
    assert service.client.post(ORDERS, json=dearest).json()["total"] == "99999999900.00"


@once_with_file
@pytest.mark.parametrize(
    "sent",
    [
        b"short",
        b"x" * 65,
        b"has a space in it",
        b"caf\xc3\xa9-caf\xc3\xa9",
        b"semi;colon=1",
        b'quo"te-quo"te',
        b"%0d%0aSet-Cookie:a=b",
        b"<script>alert(1)</script>",
        b"",
        b"\ttab-tab-tab\t\x0b",
    ],
)
def test_unsafe_request_id(service: Service, sent: bytes) -> None:
    """An unsafe request ID is replaced by one of the service."""
    case = Case("id", {404}, target="/api/v1/nothing", headers={"X-Request-ID": sent})
    response = service.raw(case.request())
    if response.headers.get("x-request-id") is None:
        # The server's parser rejects such bytes before the application sees them.
        assert response.status_code == 400
        return
    service.failure(response, 404)
    assert UUID7.fullmatch(response.headers["x-request-id"])
    assert "set-cookie" not in response.headers


@once_with_file
def test_request_id_with_line_breaks(service: Service) -> None:
    """Line breaks in a request ID add no header to the response."""
    for end in (b"\r\n", b"\n", b"\r"):
        case = Case("id", {404}, target="/nothing", headers={"X-Request-ID": b"good-id-1" + end + b"Set-Cookie: a=b"})
        response = service.raw(case.request())
        assert response.status_code in {400, 404}
        assert "set-cookie" not in response.headers


@once_with_file
def test_safe_request_id(service: Service) -> None:
    """A safe request ID appears in the response, the error and the log."""
    sent = f"Client_1.{uuid.uuid4()}"
    response = service.request("GET", "/api/v1/nothing", headers={"X-Request-ID": sent})
    service.failure(response, 404)
    assert response.headers["x-request-id"] == sent
    service.wait_for_event(event="request", request_id=sent)
    twice = b"GET /health HTTP/1.1\r\nHost: shop\r\nX-Request-ID: first-one\r\nX-Request-ID: second-one\r\n\r\n"
    assert service.raw(twice).headers.get_list("x-request-id") == ["first-one"]


@once_with_file
def test_preflight(service: Service) -> None:
    """A preflight request of a known origin is allowed, and one of another origin is not."""
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
    allowed = service.request("OPTIONS", ORDERS, headers=asked | {"Origin": ORIGIN})
    assert allowed.status_code == 200
    assert allowed.headers["access-control-allow-origin"] == ORIGIN
    refused = service.request("OPTIONS", ORDERS, headers=asked | {"Origin": "https://evil.example"})
    assert "access-control-allow-origin" not in refused.headers
    assert refused.status_code == 400
    assert refused.headers["x-request-id"]
    foreign = service.request("GET", ORDERS, headers={"Origin": "https://evil.example"})
    assert "access-control-allow-origin" not in foreign.headers


@pytest.fixture(scope="module")
def guarded(project: Project, settings: dict[str, str]) -> Iterator[Service]:
    """Return a service with allowed hosts and a trusted proxy."""
    guarded = {"ALLOWED_HOSTS": "Shop.example,*.shops.example,[::1]", "TRUSTED_PROXIES": "127.0.0.1"}
    with project.start(settings | guarded) as service:
        yield service


@once_with_file
@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "shop.example.evil.example",
        "notshop.example",
        "shops.example",
        "shop.example@evil.example",
        "evil.example/shop.example",
        "shop.example.",
        "127.0.0.1",
        "[::1",
        "::1",
        "",
        "shop.example\x1b[2J",
    ],
)
def test_foreign_host(guarded: Service, host: str) -> None:
    """An unknown host is refused, with the headers of every response."""
    response = guarded.raw(f"GET {ORDERS} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    assert response.status_code == 400
    if "x-request-id" in response.headers:
        assert response.headers["x-content-type-options"] == "nosniff"
    else:
        # The server's parser rejects such bytes before the application sees them.
        assert response.text == "Invalid HTTP request received."


@once_with_file
@pytest.mark.parametrize(
    "host", ["shop.example", "SHOP.example:8000", "a.shops.example", "a.b.shops.example:1", "[::1]:80"]
)
def test_own_host(guarded: Service, host: str) -> None:
    """The service accepts its own hosts in any case and with any port."""
    assert guarded.raw(f"GET {ORDERS} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()).status_code == 200


@once_with_file
def test_no_host(guarded: Service) -> None:
    """A request without a host is refused, except for health checks, which use only an IP address."""
    assert guarded.raw(f"GET {ORDERS} HTTP/1.0\r\n\r\n".encode()).status_code == 400
    for probe in ("/health", "/health/ready"):
        assert guarded.raw(f"GET {probe} HTTP/1.1\r\nHost: 10.0.0.7:8000\r\n\r\n".encode()).status_code == 200


def client_of(service: Service, forwarded: str) -> str:
    """Return the client address of a request, which must be the one in the log."""
    headers = {"X-Forwarded-For": forwarded, "X-Forwarded-Proto": "https", "Host": "shop.example"}
    response = service.request("GET", "/probe/client", headers=headers)
    host: str = response.json()["host"]
    event = service.wait_for_event(event="request", request_id=response.headers["x-request-id"])
    assert event["client"] == host
    return host


@once_with_file
def test_forged_client_address(project: Project, service: Service, guarded: Service, settings: dict[str, str]) -> None:
    """The client's address comes only from trusted proxies, and from the last of them."""
    assert client_of(service, "203.0.113.7") == "127.0.0.1"
    assert client_of(guarded, "203.0.113.7") == "203.0.113.7"
    assert client_of(guarded, "198.51.100.1, 203.0.113.7") == "203.0.113.7"
    assert client_of(guarded, "203.0.113.7, 127.0.0.1") == "203.0.113.7"
    with project.start(settings | {"TRUSTED_PROXIES": "10.0.0.0/8"}) as elsewhere:
        assert client_of(elsewhere, "203.0.113.7") == "127.0.0.1"


@once_with_file
@pytest.mark.parametrize("form", ["json", "console"])
def test_log_injection(project: Project, settings: dict[str, str], form: str) -> None:
    """No input of a client starts a new log line or moves a terminal's cursor."""
    settings = settings | {"LOG_FORMAT": form, "ALLOWED_HOSTS": "shop.example", "TRUSTED_PROXIES": "127.0.0.1"}
    marker = "INJECTED"
    sent: list[dict[str, str | bytes]] = [
        {"Host": "shop.example"},
        {"Host": f"{marker}\x1b[2J"},
        {"Host": "shop.example", "X-Forwarded-For": f"\x1b[2J{marker}"},
        {"Host": "shop.example", "X-Forwarded-For": f"203.0.113.7 {marker} level=error"},
        {"Host": "shop.example", "X-Request-ID": f"{marker} event=fake"},
        {"Host": "shop.example", "User-Agent": f"\x1b[2J{marker}"},
    ]
    with project.start(settings) as service:
        for headers in sent:
            for target in (f"/%0a{marker}%20error", f"/%0d{marker}", f"/%1b[2J{marker}", f"{ORDERS}/%0a{marker}"):
                response = service.raw(Case("log", set(), target=target, headers=headers).request())
                assert response.status_code in {400, 404, 422}
        service.terminate()
        service.wait()
        for text in service.lines:
            assert not text.lstrip().startswith(marker)
            assert "\x1b" not in text
            assert "\r" not in text
        if form == "json":
            assert service.events()


@once
def test_nothing_secret_is_logged(service: Service) -> None:
    """After these requests no log line contains a secret, and none is an error."""
    for case in (*BODIES, *QUERIES, *TARGETS):
        service.raw(case.request(), case.method)
    last = service.request("GET", "/api/v1/nothing").headers["x-request-id"]
    service.wait_for_event(event="request", request_id=last)
    assert not [text for text in service.lines if SECRET in text]
    assert not service.events(level="error")
    assert service.client.get("/health").status_code == 200


@with_database
def test_case_of_a_reference(service: Service) -> None:
    """References that differ in case are different on every database."""
    reference = new_reference()
    assert service.create_order(reference.upper()).status_code == 201
    assert service.create_order(reference.lower()).status_code == 201
    assert service.create_order(reference.lower()).status_code == 409
