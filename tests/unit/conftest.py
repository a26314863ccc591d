"""What the unit tests share."""

import pytest
from hypothesis import HealthCheck, settings

# Time is no pass mark, and a slow machine is no fault.
settings.register_profile("esprit", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("esprit")


@pytest.fixture
def anyio_backend() -> str:
    """Coroutines are run by asyncio, as the service runs them."""
    return "asyncio"
