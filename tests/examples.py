"""How many examples hypothesis draws; the profiles are in conftest.py."""

from hypothesis import settings

CI, NIGHTLY = 100, 5000


def examples(count: int) -> settings:
    """For properties that deserve more than others or cost more: `count` in CI, in proportion at night."""
    assert settings.default is not None
    return settings(max_examples=count * settings.default.max_examples // CI)
