import pytest


@pytest.fixture(autouse=True)
def _ffmpeg_without_fork(monkeypatch):
  # imageio_ffmpeg's readers fork otherwise, which JAX warns of.
  monkeypatch.setenv('IMAGEIO_FFMPEG_NO_PREVENT_SIGINT', '1')
