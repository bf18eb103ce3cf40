"""Every response carries the policy, and no page needs what it forbids."""

from __future__ import annotations

import re

import pytest
from django.http import HttpResponse

from frontend.csp import ContentSecurityPolicyMiddleware


def directives(response) -> dict[str, str]:
    header = response.headers["Content-Security-Policy"]
    return dict(part.strip().split(" ", 1) for part in header.split(";"))


@pytest.mark.parametrize("url", ["/sign-in/", "/nothing/", "/"])
def test_the_policy_is_on_pages_redirects_and_errors(client, db, url):
    policy = directives(client.get(url))
    assert policy["default-src"] == "'self'" and policy["script-src"] == "'self'"
    assert policy["object-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert "unsafe" not in str(policy)


def test_a_form_without_its_token_gets_the_policy_and_a_sentence(db):
    from django.test import Client

    response = Client(enforce_csrf_checks=True).post("/sign-in/", {"username": "a", "password": "b"})
    assert response.status_code == 403 and "default-src" in directives(response)
    assert "no longer valid" in response.content.decode()


def test_a_nonce_is_in_the_policy_only_where_a_template_asked_for_one(rf):
    def asks(request):
        return HttpResponse(str(request.csp_nonce))

    response = ContentSecurityPolicyMiddleware(asks)(rf.get("/"))
    nonce = response.content.decode()
    assert f"'nonce-{nonce}'" in directives(response)["script-src"]
    assert ContentSecurityPolicyMiddleware(asks)(rf.get("/")).content.decode() != nonce
    silent = ContentSecurityPolicyMiddleware(lambda request: HttpResponse("x"))(rf.get("/"))
    assert "nonce" not in silent.headers["Content-Security-Policy"]


def test_a_views_own_policy_stands(rf):
    def own(request):
        return HttpResponse("x", headers={"Content-Security-Policy": "default-src 'none'"})

    assert ContentSecurityPolicyMiddleware(own)(rf.get("/")).headers["Content-Security-Policy"] == "default-src 'none'"


def test_the_page_holds_no_inline_script_or_style(client, db):
    page = client.get("/sign-in/").content.decode()
    assert not re.search(r"<script(?![^>]*\bsrc=)", page) and "<style" not in page and " style=" not in page
