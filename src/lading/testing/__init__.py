"""Conformance suites that every adapter passes, and parts that fail on purpose."""

import pytest

# pytest shows what an assertion has compared in test files alone, unless it is told of others before they are imported.
SUITES = ("channel", "format", "keys", "signer", "source", "store", "wrapper")
pytest.register_assert_rewrite(*(f"{__name__}.{suite}" for suite in SUITES))
