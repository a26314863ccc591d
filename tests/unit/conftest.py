"""What the unit tests share."""

import pytest


@pytest.fixture
def anyio_backend() -> str:
    """Coroutines are run by asyncio, as the service runs them."""
    return "asyncio"
