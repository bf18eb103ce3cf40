"""The dashboard as a browser without scripts uses it: cookies, pages, and forms sent as they were filled in."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.message import Message
from html.parser import HTMLParser
from http.cookiejar import CookieJar
from typing import Any

File = tuple[str, bytes]  # name, content
Fields = Mapping[str, str | list[str] | None]
ENDED = frozenset({"succeeded", "failed", "cancelled"})


class DashboardError(RuntimeError):
    """An answer that was not expected; the message holds what the page said."""


@dataclass
class Page:
    status: int
    url: str
    body: bytes
    headers: Message

    @property
    def text(self) -> str:
        return self.body.decode()

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Form:
    """A form as it was served: the values that a browser would send if nobody touched it."""

    values: dict[str, list[str]] = field(default_factory=dict)
    options: dict[str, list[str]] = field(default_factory=dict)
    """What each select offers."""


class FormReader(HTMLParser):
    """Reads every form of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.forms: list[Form] = []
        self.inside = False
        self.select = self.textarea = ""
        self.chosen: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.forms.append(Form())
            self.inside = True
        elif not self.inside:
            return
        elif tag == "input" and given.get("name"):
            self.read_input(given)
        elif tag == "select":
            self.select, self.chosen = given.get("name", ""), []
            self.forms[-1].options[self.select] = []
        elif tag == "option" and self.select:
            self.forms[-1].options[self.select].append(given.get("value", ""))
            if "selected" in given:
                self.chosen.append(given.get("value", ""))
        elif tag == "textarea" and given.get("name"):
            self.textarea = given["name"]
            self.forms[-1].values[self.textarea] = [""]

    def read_input(self, given: Mapping[str, str]) -> None:
        kind, values = given.get("type", "text"), self.forms[-1].values
        if kind in {"checkbox", "radio"}:
            if "checked" in given:
                values.setdefault(given["name"], []).append(given.get("value", "on"))
        elif kind not in {"file", "submit", "button", "image"}:
            values.setdefault(given["name"], []).append(given.get("value", ""))

    def handle_data(self, data: str) -> None:
        if self.textarea:
            self.forms[-1].values[self.textarea][0] += data

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self.inside = False
        elif tag == "textarea":
            self.textarea = ""
        elif tag == "select" and self.select:
            form = self.forms[-1]
            form.values[self.select] = self.chosen or form.options[self.select][:1]
            self.select = ""


def form_with(html: str, name: str) -> Form:
    """The form of a page that has a field or a select of this name. Raises DashboardError if there is none."""
    reader = FormReader()
    reader.feed(html)
    for form in reader.forms:
        if name in form.values or name in form.options:
            return form
    raise DashboardError(f"the page has no form with a field {name}")


def multipart(values: Mapping[str, list[str]], files: Mapping[str, File]) -> tuple[bytes, str]:
    """(body, content type) of a form with files."""
    boundary = uuid.uuid4().hex
    parts: list[bytes] = []
    for name, listed in values.items():
        for value in listed:
            parts.append(f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode())
    for name, (filename, content) in files.items():
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"; filename="{filename}"\r\n'
        parts.append(f"{head}Content-Type: application/octet-stream\r\n\r\n".encode() + content + b"\r\n")
    return b"".join([*parts, f"--{boundary}--\r\n".encode()]), f"multipart/form-data; boundary={boundary}"


class Dashboard:
    """A signed-in person at one installation."""

    def __init__(self, address: str) -> None:
        self.address = address.rstrip("/")
        self.cookies = CookieJar()
        self.opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPCookieProcessor(self.cookies)
        )

    def get(self, path: str) -> Page:
        return self.expect(self.open(path), 200)

    def open(self, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None) -> Page:
        request = urllib.request.Request(self.address + path, data=body, headers=dict(headers or {}))
        try:
            with self.opener.open(request, timeout=120) as answer:
                return Page(answer.status, answer.url, answer.read(), answer.headers)
        except urllib.error.HTTPError as error:
            return Page(error.code, error.url or path, error.read(), error.headers)

    def expect(self, page: Page, *statuses: int) -> Page:
        if page.status not in statuses:
            raise DashboardError(f"{page.url} answered {page.status}: {words_of(page.text)[:1500]}")
        return page

    def sign_in(self, path: str) -> None:
        """Use a one-time link: open it and press its button."""
        self.send(path, "csrfmiddlewaretoken", {})
        self.get("/projects/new/")  # 404 for whoever is not the owner, and for nobody the sign-in page

    def send(
        self,
        path: str,
        field_name: str,
        changes: Fields,
        files: Mapping[str, File] | None = None,
        *,
        to: str = "",
        statuses: tuple[int, ...] = (200,),
    ) -> Page:
        """Open a page, change some fields of the form that has `field_name`, send it and follow.

        to: where the form goes, if not to its own page. A change to None unticks a box. A refused form comes back with
        422, which is an error unless expected.
        """
        form = form_with(self.get(path).text, field_name)
        values = dict(form.values)
        for name, value in changes.items():
            if value is None:
                values.pop(name, None)
            else:
                values[name] = value if isinstance(value, list) else [value]
        if files:
            body, kind = multipart(values, files)
        else:
            body, kind = urllib.parse.urlencode(values, doseq=True).encode(), "application/x-www-form-urlencoded"
        page = self.open(to or path, body, {"Content-Type": kind, "Referer": self.address + path})
        return self.expect(page, *statuses)

    def api(self, path: str, content: Any = None) -> Any:
        """GET from the API, or POST `content` to it."""
        headers = {"Accept": "application/json"}
        body = None
        if content is not None:
            token = next((cookie.value for cookie in self.cookies if cookie.name == "csrftoken"), "")
            headers |= {"Content-Type": "application/json", "X-CSRFToken": token or ""}
            body = json.dumps(content).encode()
        return self.expect(self.open(f"/api/v1{path}", body, headers), 200, 201).json()

    def wait_for_run(self, project: str, run_id: str, said: Callable[[str], None], seconds: float) -> dict[str, Any]:
        """The run once it has succeeded, followed on its live page as an open browser does. Raises DashboardError."""
        until, last = time.monotonic() + seconds, ""
        while True:
            self.get(f"/p/{project}/runs/{run_id}/live/")
            run: dict[str, Any] = self.api(f"/projects/{project}/runs/{run_id}/")
            words = f"{run['stage']}: {run['state']}, step {run['step']} of {run['total_steps']}"
            if words != last and (run["state"] in ENDED or run["step"] % 10 == 0):
                said(words)
                last = words
            if run["state"] == "succeeded":
                return run
            if run["state"] in ENDED:
                raise DashboardError(f"the {run['stage']} run {run['state']}: {run['message']}")
            if time.monotonic() > until:
                raise DashboardError(f"the {run['stage']} run is not over after {seconds:.0f} s")
            time.sleep(2)


def words_of(html: str) -> str:
    """What a page says, without its tags."""

    class Words(HTMLParser):
        said: list[str] = []

        def handle_data(self, data: str) -> None:
            self.said.append(data)

    reader = Words()
    reader.said = []
    reader.feed(html)
    return " ".join(" ".join(reader.said).split())
