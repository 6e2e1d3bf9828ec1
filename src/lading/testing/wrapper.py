"""What every wrapper of data keys must do."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from lading.errors import Refused
from lading.ports import WrappedKey, Wrapper
from lading.testing.keys import KeysSuite

Open = Callable[[], Wrapper]
Unwrap = Callable[[str, WrappedKey], bytes]
KEY = bytes(range(32))


class WrapperSuite:
    """A test class of an adapter derives from this and has two pytest fixtures. ``open_wrapper``: a function that opens
    the same wrapper anew each time it is called, as a new process would. ``unwrap``: opens a key as the tenant does,
    and raises Refused where it cannot."""

    def test_what_is_wrapped_is_opened_by_its_tenant(self, open_wrapper: Open, unwrap: Unwrap) -> None:
        wrapped = {tenant: open_wrapper().wrap(tenant, KEY) for tenant in KeysSuite.TENANTS}
        assert all(unwrap(tenant, found) == KEY for tenant, found in wrapped.items())

    def test_a_wrapped_key_and_the_wrapper_in_print_reveal_nothing(self, open_wrapper: Open) -> None:
        wrapper = open_wrapper()
        wrapped = wrapper.wrap("UA", KEY)
        assert KEY not in wrapped.data
        assert KEY.hex()[:8] not in f"{wrapper!r} {wrapper}"

    def test_no_tenant_opens_what_is_wrapped_for_another(self, open_wrapper: Open, unwrap: Unwrap) -> None:
        wrapper = open_wrapper()
        wrapped = {tenant: wrapper.wrap(tenant, KEY) for tenant in KeysSuite.TENANTS}
        assert len({found.key_id for found in wrapped.values()}) == len(wrapped)
        for tenant in KeysSuite.TENANTS[:6]:
            for other, found in wrapped.items():
                if other != tenant:
                    with pytest.raises(Refused):
                        unwrap(tenant, found)
                    # Nor under a name of one's own key.
                    with pytest.raises(Refused):
                        unwrap(tenant, replace(found, key_id=wrapped[tenant].key_id))

    def test_a_changed_byte_is_refused(self, open_wrapper: Open, unwrap: Unwrap) -> None:
        wrapper = open_wrapper()
        wrapped = wrapper.wrap("UA", KEY)
        for at in range(len(wrapped.data)):
            changed = bytearray(wrapped.data)
            changed[at] ^= 1
            with pytest.raises(Refused):
                unwrap("UA", replace(wrapped, data=bytes(changed)))
        for data in (b"", wrapped.data[:-1], wrapped.data + b"\0"):
            with pytest.raises(Refused):
                unwrap("UA", replace(wrapped, data=data))

    def test_many_threads_that_meet_a_new_tenant_wrap_under_one_key(self, open_wrapper: Open) -> None:
        wrappers = [open_wrapper() for _ in range(8)]
        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(lambda wrapper: wrapper.wrap("new", KEY), wrappers * 4))
        assert len({wrapped.key_id for wrapped in found}) == 1
