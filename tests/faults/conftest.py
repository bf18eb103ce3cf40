from tests.training.conftest import _one_thread, corpus, fake_core, run  # noqa: F401
