"""Conformance suites that every adapter passes, and parts that fail on purpose."""
