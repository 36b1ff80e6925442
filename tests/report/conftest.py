"""One Chromium for a test module; tests that need it are skipped where there is none."""

from collections.abc import Iterator

import pytest

from tests.report.chromium import Page, browser, executable


@pytest.fixture(scope="module")
def _tab() -> Iterator[Page]:
    if executable() is None:
        pytest.skip("no Chromium on this machine; apt-get install chromium")
    pytest.importorskip("websockets", reason="the browser is driven through websockets")
    with browser() as page:
        yield page


@pytest.fixture
def tab(_tab: Page) -> Page:
    """A tab with scripts on, light, 1024 pixels wide."""
    _tab.scripts(True)
    _tab.dark(False)
    _tab.size(1024)
    return _tab
