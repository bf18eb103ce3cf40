"""`python -m training.hub_push`: one folder to a dataset repository of a hub, as a process of its own. No database.

The order is JSON on stdin, one line, the token with it, so that it is in no argument, no environment and no file:
`{"endpoint", "repository", "private", "folder", "message", "token"}`. The answer is one line on stdout: `{"url": ...,
"commit": ...}`, or `{"problem": code, "detail": ...}`. Whoever asks keeps stdin open: its end ends this.

The library is told to look for no other token, to tell nobody about itself, and to send files by the plain protocol,
which every hub speaks.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Mapping
from typing import Any

ENVIRONMENT = {
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_UPDATE_CHECK": "1",
    "HF_HUB_DISABLE_XET": "1",
}
MOST_DETAIL = 300


class NotPrivate(Exception):
    """The repository is there already, for everyone to read."""


def push(order: Mapping[str, Any]) -> dict[str, str]:
    """Make the repository if it is not there, and replace its data by the folder, in one commit."""
    from huggingface_hub import HfApi

    api = HfApi(endpoint=order["endpoint"], token=order["token"], library_name="plackett")
    repository = order["repository"]
    api.create_repo(repository, repo_type="dataset", private=order["private"], exist_ok=True)
    if order["private"] and not api.dataset_info(repository).private:
        raise NotPrivate
    done = api.upload_folder(
        repo_id=repository,
        repo_type="dataset",
        folder_path=order["folder"],
        commit_message=order["message"],
        delete_patterns=["data/*"],
    )
    return {"url": f"{order['endpoint']}/datasets/{repository}", "commit": str(done.oid)}


def problem_of(error: Exception, token: str) -> dict[str, str]:
    """What went wrong as a code, and in the hub's own words, the token struck out of them."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    code = {401: "token", 403: "refused", 404: "missing", 409: "conflict", 429: "busy"}.get(status or 0, "failed")
    if isinstance(error, NotPrivate):
        code = "public"
    elif status is None and type(error).__module__.partition(".")[0] in ("httpx", "httpx2", "httpcore", "httpcore2"):
        code = "unreachable"
    said = str(getattr(error, "server_message", None) or error).strip() or type(error).__name__
    return {"problem": code, "detail": said.replace(token, "***")[:MOST_DETAIL]}


def end_with_stdin() -> None:
    """Whoever asked is gone, or has had enough. Past Python's own buffer, whose lock must be free at the end."""
    while os.read(0, 4096):
        pass
    os._exit(1)


def main() -> int:
    os.environ.update(ENVIRONMENT)
    order = json.loads(sys.stdin.buffer.readline())
    threading.Thread(target=end_with_stdin, daemon=True, name="stdin").start()
    try:
        answer = push(order)
    except Exception as error:
        answer = problem_of(error, order["token"])
    print(json.dumps(answer), flush=True)
    return 1 if "problem" in answer else 0


if __name__ == "__main__":
    sys.exit(main())
