"""A client that a generator makes of the API's description works: a file in, a snapshot, an export out."""

from __future__ import annotations

import importlib
import io
import json
import sys
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
from drf_spectacular.generators import SchemaGenerator
from openapi_python_client import generate
from openapi_python_client.config import Config, ConfigFile, MetaType

from annotation.models import ImportBatch, Membership
from annotation.services.imports import import_work_here
from annotation.services.tokens import token_create
from training.jobs import carry_out as carry_out_job
from training.services.jobs import job_claim

# Files come as what they are; the generator is told that they are bytes.
BYTES = ("application/jsonl", "application/gzip", "application/zstd", "text/csv")


@pytest.fixture(scope="module")
def client_package(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The generated package, imported."""
    folder = tmp_path_factory.mktemp("generated")
    description = folder / "openapi.json"
    description.write_text(json.dumps(SchemaGenerator().get_schema(public=True), default=str))
    choices = ConfigFile(
        post_hooks=[],
        package_name_override="plackett_client",
        content_type_overrides=dict.fromkeys(BYTES, "application/octet-stream"),
    )
    config = Config.from_sources(
        choices, MetaType.NONE, description, "utf-8", overwrite=True, output_path=folder / "plackett_client"
    )
    problems = [f"{problem.header} {problem.detail}" for problem in generate(config=config)]
    assert problems == []
    sys.path.insert(0, str(folder))
    yield importlib.import_module("plackett_client")
    sys.path.remove(str(folder))
    for name in [name for name in sys.modules if name.partition(".")[0] == "plackett_client"]:
        del sys.modules[name]


@pytest.mark.django_db(transaction=True)
def test_a_file_goes_in_and_an_export_comes_out(client_package: Any, ada: Membership, live_server: Any) -> None:
    from httpx import get
    from plackett_client import AuthenticatedClient
    from plackett_client.api.projects import (
        projects_imports_create,
        projects_imports_retrieve,
        projects_jobs_retrieve,
        projects_snapshots_create,
        projects_snapshots_download_retrieve,
        projects_snapshots_exports_create,
    )
    from plackett_client.models import ExportCreate, Import, ImportKindEnum, PoolEnum, Refusal, SnapshotBuild
    from plackett_client.models import ProjectsSnapshotsDownloadRetrieveSplit as Split
    from plackett_client.types import File

    _token, secret = token_create(
        membership=ada, name="client", scopes=["read", "write_prompts", "export"], days=1, by=ada.user
    )
    client = AuthenticatedClient(base_url=live_server.url, token=secret, raise_on_unexpected_status=True)
    rows = [{"prompt": f"Question {number}?", "completion": f"Answer {number}.", "labeler": "j"} for number in range(5)]
    lines = "".join(json.dumps(row) + "\n" for row in rows).encode()
    with client:
        file = File(payload=io.BytesIO(lines), file_name="rows.jsonl", mime_type="application/x-ndjson")
        body = Import(kind=ImportKindEnum.DEMONSTRATIONS, pool=PoolEnum.SFT, source="by hand", file=file)
        sent = projects_imports_create.sync("answers", client=client, body=body)
        assert not isinstance(sent, Refusal), sent.to_dict()
        import_there(sent.id)
        told = projects_imports_retrieve.sync("answers", sent.id, client=client)
        assert (told.state.value, told.added) == ("succeeded", 5)

        build = SnapshotBuild.from_dict({"kind": "demonstrations", "name": "By a program"})
        snapshot = projects_snapshots_create.sync("answers", client=client, body=build)
        counts = snapshot.counts.to_dict()
        assert sum(counts.values()) == 5

        order = ExportCreate.from_dict({"format": "openai", "container": "jsonl"})
        job = projects_snapshots_exports_create.sync("answers", snapshot.id, client=client, body=order)
        claimed = job_claim()
        assert claimed is not None
        carry_out_job(claimed)
        done = projects_jobs_retrieve.sync("answers", job.id, client=client)
        assert done.state.value == "succeeded"
        archive = get(done.url).content
        assert archive[:2] == b"PK"

        split = next(name for name, number in counts.items() if number)
        found = projects_snapshots_download_retrieve.sync("answers", snapshot.id, client=client, split=Split(split))
        assert b"Question" in found.payload.read()


def import_there(id: UUID) -> None:
    """As a worker does it."""
    import_work_here(batch=ImportBatch.objects.get(pk=id))
