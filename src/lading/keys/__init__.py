"""Keyrings (`ports.Keys`): one secret of 32 bytes per tenant, under which masks are made."""
