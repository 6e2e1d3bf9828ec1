"""What every keyring must do."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar

from lading.ports import Keys

Open = Callable[[], Keys]


class KeysSuite:
    """A test class of an adapter derives from this and has a pytest fixture ``open_keys``: a function that opens the
    same keyring anew each time it is called, as a new process would."""

    TENANTS: ClassVar[tuple[str, ...]] = (
        *(
            "UA",
            "ua",
            "Ua",
            "default",
            "",
            " ",
            ".",
            "..",
            "../x",
            "/etc/passwd",
            "a/b",
            "a\\b",
            "a%2fb",
            "CON",
            "nul.txt",
        ),
        *(
            "tenant-",
            "hashed-",
            "ü",
            "u\u0308",
            "😀",
            "日本",
            "\n",
            "\x00",
            "x" * 300,
            "X" * 300,
            "ü" * 300,
            "a:b",
            "~",
            "-",
        ),
    )

    def test_a_tenant_has_one_key_of_32_bytes(self, open_keys: Open) -> None:
        keys = open_keys()
        for tenant in self.TENANTS:
            key = keys.tenant_key(tenant)
            assert isinstance(key, bytes)
            assert len(key) == 32
            assert keys.tenant_key(tenant) == key

    def test_no_two_tenants_share_a_key_or_its_name(self, open_keys: Open) -> None:
        keys = open_keys()
        assert len({keys.tenant_key(tenant) for tenant in self.TENANTS}) == len(self.TENANTS)
        assert len({keys.key_id(tenant) for tenant in self.TENANTS}) == len(self.TENANTS)

    def test_a_keyring_opened_again_has_the_same_keys(self, open_keys: Open) -> None:
        first = open_keys()
        made = {tenant: (first.tenant_key(tenant), first.key_id(tenant)) for tenant in self.TENANTS}
        second = open_keys()
        for tenant in reversed(self.TENANTS):
            assert (second.tenant_key(tenant), second.key_id(tenant)) == made[tenant]

    def test_many_threads_that_meet_a_new_tenant_get_one_key(self, open_keys: Open) -> None:
        keyrings = [open_keys() for _ in range(8)]
        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(lambda keys: (keys.tenant_key("new"), keys.key_id("new")), keyrings * 4))
        assert len(set(found)) == 1

    def test_the_name_of_a_key_and_the_keyring_in_print_reveal_nothing(self, open_keys: Open) -> None:
        keys = open_keys()
        key = keys.tenant_key("UA")
        shown = f"{keys!r} {keys} {keys.key_id('UA')}"
        assert key.hex()[:8] not in shown
        assert str(key)[2:12] not in shown
        assert keys.key_id("UA") == open_keys().key_id("UA")
