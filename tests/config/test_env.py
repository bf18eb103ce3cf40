"""Settings from the environment: a bad value is refused with a sentence that says the fix."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from config.env import (
    BadSetting,
    env_bool,
    env_choice,
    env_email,
    env_int,
    env_list,
    env_networks,
    env_path,
    env_store,
    env_url,
    postgresql_database,
)
from tests.conftest import ROOT


@pytest.mark.parametrize(("value", "meant"), [("1", True), ("Yes", True), ("off", False), ("", True), ("  ", True)])
def test_yes_and_no(monkeypatch: pytest.MonkeyPatch, value: str, meant: bool) -> None:
    monkeypatch.setenv("IT", value)
    assert env_bool("IT", default=True) is meant


def test_bad_values_are_refused_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IT", "maybe")
    with pytest.raises(BadSetting, match=r"IT is 'maybe', which is neither yes nor no. Set it to 1 or 0"):
        env_bool("IT", default=False)
    with pytest.raises(BadSetting, match="is not a whole number"):
        env_int("IT", default=30, minimum=1, maximum=60)
    monkeypatch.setenv("IT", "61")
    with pytest.raises(BadSetting, match=r"IT is 61. Set it between 1 and 60; 30 is the default"):
        env_int("IT", default=30, minimum=1, maximum=60)


def test_lists_and_paths(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("IT", " a, b ,,c")
    assert env_list("IT", []) == ["a", "b", "c"]
    monkeypatch.setenv("IT", "~/x")
    assert env_path("IT", tmp_path) == Path.home() / "x"
    monkeypatch.delenv("IT")
    assert env_path("IT", tmp_path) == tmp_path


def test_a_database_address_is_read_whole() -> None:
    database = postgresql_database("IT", "postgresql://me:p%40ss@db.example.org:6432/pl%20x?sslmode=require")
    assert (database["USER"], database["PASSWORD"], database["HOST"], database["PORT"], database["NAME"]) == (
        "me",
        "p@ss",
        "db.example.org",
        "6432",
        "pl x",
    )
    assert database["OPTIONS"]["sslmode"] == "require"


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("mysql://me@db/x", "starts with mysql://. Set it to postgresql://"),
        ("plain", "starts with nothing://"),
        ("postgresql://me@db", "names no database. Add one at its end"),
    ],
)
def test_a_wrong_database_address_says_what_to_write(url: str, words: str) -> None:
    with pytest.raises(BadSetting, match=words):
        postgresql_database("DATABASE_URL", url)


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"DATABASE_URL": "postgresql://me@db/x"}, "SECRET_KEY is not set. Set it to a long random text"),
        ({"SECRET_KEY": "short"}, "SECRET_KEY is shorter than 32 characters"),
        ({"RUN_LEASE_SECONDS": "0"}, "RUN_LEASE_SECONDS is 0. Set it between"),
    ],
)
def test_manage_py_ends_in_one_sentence(environment: dict[str, str], words: str, tmp_path: Path) -> None:
    kept = {name: value for name, value in os.environ.items() if name in {"PATH", "HOME", "LANG"}}
    result = subprocess.run(
        [sys.executable, "manage.py", "migrate", "--plan"],
        cwd=ROOT,
        env=kept | {"PLACKETT_DATA": str(tmp_path)} | environment,
        capture_output=True,
        text=True,
    )
    assert result.returncode != 0
    assert words in result.stderr
    assert "Traceback" not in result.stderr and len(result.stderr.strip().splitlines()) == 1


def test_a_choice_a_web_address_and_a_mailbox(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (env_choice("IT", ("starttls", "tls")), env_url("IT"), env_email("IT", needed_by="")) == (
        "starttls",
        "",
        "plackett@localhost",
    )
    with pytest.raises(BadSetting, match="IT is not set, but EMAIL_HOST is"):
        env_email("IT", needed_by="EMAIL_HOST")
    monkeypatch.setenv("IT", "ssl3")
    with pytest.raises(BadSetting, match="one of starttls, tls"):
        env_choice("IT", ("starttls", "tls"))
    for bad in ("labels.example.org", "ftp://x.org", "https://x.org/?a", "https://"):
        monkeypatch.setenv("IT", bad)
        with pytest.raises(BadSetting, match="no web address"):
            env_url("IT")
    monkeypatch.setenv("IT", "https://labels.example.org/")
    assert env_url("IT") == "https://labels.example.org"
    for bad in ("plackett", "@example.org", "plackett@localhost"):
        monkeypatch.setenv("IT", bad)
        with pytest.raises(BadSetting, match="no e-mail address"):
            env_email("IT", needed_by="EMAIL_HOST")
    monkeypatch.setenv("IT", "Plackett <plackett@example.org>")
    assert env_email("IT", needed_by="EMAIL_HOST") == "Plackett <plackett@example.org>"


def test_networks_for_webhooks_and_never_the_hosts_own_in_an_installation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IT", "10.20.0.0/16, fd00::/8")
    assert env_networks("IT", local=False) == ["10.20.0.0/16", "fd00::/8"]
    for own in ("127.0.0.0/8", "0.0.0.0/0", "169.254.169.254", "::1", "::/0", "fe80::/64"):
        monkeypatch.setenv("IT", own)
        assert env_networks("IT", local=True)
        with pytest.raises(BadSetting, match="reaches the host itself"):
            env_networks("IT", local=False)
    monkeypatch.setenv("IT", "10.20.0.1/16")
    with pytest.raises(BadSetting, match="Write networks like"):
        env_networks("IT", local=False)


STORE_KEYS = {"AWS_ACCESS_KEY_ID": "who", "AWS_SECRET_ACCESS_KEY": "a-secret-word"}


def test_the_address_of_an_object_store_is_read_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in STORE_KEYS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("IT", raising=False)
    assert env_store("IT") is None
    monkeypatch.setenv("IT", "s3://files/of/ours?endpoint=https://s3.example.org:9000&region=eu-1")
    found = env_store("IT")
    assert found and found["BACKEND"] == "annotation.s3.ObjectStore"
    options = found["OPTIONS"]
    assert (options["bucket_name"], options["location"], options["region_name"]) == ("files", "of/ours", "eu-1")
    assert (options["endpoint_url"], options["path_style"]) == ("https://s3.example.org:9000", True)
    assert (options["access_key"], options["secret_key"]) == ("who", "a-secret-word")
    monkeypatch.setenv("IT", "s3://files")
    assert env_store("IT")["OPTIONS"]["endpoint_url"] is None  # type: ignore[index]


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("https://files.example.org", "is no address of an S3 bucket"),
        ("s3://", "is no address of an S3 bucket"),
        ("s3://who:a-secret-word@files", "holds a password"),
        ("s3://files?endpoint=ftp://x", "has an endpoint that is no web address"),
        ("s3://files?endpoint=https://who:a-secret-word@x", "has an endpoint that is no web address"),
        ("s3://files?secret=a-secret-word", "has 'secret'"),
    ],
)
def test_a_bad_address_of_an_object_store_is_refused_without_showing_a_key(
    monkeypatch: pytest.MonkeyPatch, url: str, words: str
) -> None:
    for name, value in STORE_KEYS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("IT", url)
    with pytest.raises(BadSetting, match=words) as refused:
        env_store("IT")
    assert "a-secret-word" not in str(refused.value)


def test_an_object_store_needs_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IT", "s3://files")
    for name in STORE_KEYS:
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(BadSetting, match="Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY too"):
        env_store("IT")
