"""The page for trying a room, in a real browser."""

import os
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from selenium.webdriver import Chrome, ChromeOptions, ChromeService
from selenium.webdriver.common.by import By

from tests.services.behaviour.sockets import new_room, sign_in
from tests.services.behaviour.variants import with_rooms, with_rooms_and_auth
from tests.services.running import Service, wait_until

PASSWORD = "a phrase that only the tests log in with"
FLAGS = (
    "--headless",
    "--no-sandbox",  # who runs the tests may be root
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Chrome]:
    """Return a browser that nobody has used; without one the test fails in CI, and else does not go on."""
    programs = {name: shutil.which(name) for name in ("chromium", "chromedriver")}
    if None in programs.values():
        reason = "no browser: the page of a room is NOT tested; install Debian's chromium and chromium-driver"
        if os.environ.get("CI"):
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
    options = ChromeOptions()
    options.binary_location = str(programs["chromium"])
    for flag in (*FLAGS, f"--user-data-dir={tmp_path / 'browser'}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = Chrome(options, ChromeService(str(programs["chromedriver"])))
    try:
        yield browser
    finally:
        browser.quit()


@with_rooms
def test_two_tabs_in_one_room(service: Service, browser: Chrome) -> None:
    """Each shows what is said in the other, as text; a third, in another room, does not; the policy blocks nothing."""
    room, other_room = new_room(service), new_room(service)
    first, second, stranger = (open_tab(browser, service.url + path) for path in (room, room, other_room))
    for tab in (first, second, stranger):
        browser.switch_to.window(tab)
        wait_until(lambda: state(browser) == "connected", "the page connects")

    say(browser, first, "Is it packed?")
    say(browser, second, "<b>Yes</b>, since noon.")
    say(browser, stranger, "Hello?")
    for tab, texts in [
        (first, ["Is it packed?", "<b>Yes</b>, since noon."]),
        (second, ["Is it packed?", "<b>Yes</b>, since noon."]),
        (stranger, ["Hello?"]),
    ]:
        browser.switch_to.window(tab)
        wait_until(partial(shows, browser, texts), f"the tab shows {texts}")
        assert [entry for entry in complaints(browser) if entry["level"] == "SEVERE"] == []

    service.terminate()
    wait_until(lambda: state(browser) == "closed with code 1001", "the page tells of the shutdown")


@with_rooms_and_auth
def test_page_signs_in(service: Service, browser: Chrome) -> None:
    """A wrong password is told; the right one opens the room."""
    sign_in(service, "jane@shop.example", PASSWORD)
    tab = open_tab(browser, service.url + new_room(service))
    for password in ("a password that is not the right one", PASSWORD):
        for name, value in (("username", "jane@shop.example"), ("password", password)):
            field = browser.find_element(By.NAME, name)
            field.clear()
            field.send_keys(value)
        browser.find_element(By.CSS_SELECTOR, "#sign-in button").click()
        wait_until(lambda: browser.find_elements(By.CLASS_NAME, "error"), "the page tells of the mistake")
    wait_until(lambda: state(browser) == "connected", "the page connects")
    say(browser, tab, "Is it packed?")
    message = "#messages li:last-child"
    wait_until(
        lambda: browser.find_element(By.CSS_SELECTOR, message).text.endswith("jane@shop.example: Is it packed?"),
        "the page shows who said what",
    )


def open_tab(browser: Chrome, url: str) -> str:
    """Show a page in a tab of its own and return the tab."""
    browser.switch_to.new_window("tab")
    browser.get(url)
    return browser.current_window_handle


def state(browser: Chrome) -> str:
    """Return what the page says of its connection."""
    return browser.find_element(By.ID, "state").text


def say(browser: Chrome, tab: str, text: str) -> None:
    """Type a message and send it."""
    browser.switch_to.window(tab)
    browser.find_element(By.NAME, "text").send_keys(text + "\n")


def complaints(browser: Chrome) -> list[dict[str, str]]:
    """Return what the browser holds against the page."""
    entries: list[dict[str, str]] = browser.get_log("browser")  # type: ignore[no-untyped-call]
    return entries


def shows(browser: Chrome, texts: list[str]) -> bool:
    """Tell whether the page shows these messages, each after its time."""
    items = browser.find_elements(By.CSS_SELECTOR, "#messages li")
    return texts == [item.text.removeprefix(item.find_element(By.TAG_NAME, "time").text).strip() for item in items]
