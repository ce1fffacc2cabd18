"""The collector is off while a report is made, and as it was afterwards."""

import gc

import pytest

from reports.garbage import uncollected


@pytest.fixture(autouse=True)
def collector():
    yield
    gc.enable()


@pytest.mark.parametrize("on", [True, False])
def test_the_collector_ends_as_it_was_even_after_an_error(on):
    (gc.enable if on else gc.disable)()
    seen = []

    @uncollected()
    def work():
        seen.append(gc.isenabled())
        raise KeyError

    with pytest.raises(KeyError):
        work()
    assert seen == [False]
    assert gc.isenabled() == on
