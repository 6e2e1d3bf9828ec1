"""Declared changes of columns and rows (`ports.Transform`) and promises about the data (`ports.Check`).

Each is one entry of an export's ``transforms:`` or ``checks:``, a mapping of one name to its setting. Checks see the
source's values; transforms run after routing, on one tenant's rows, since masks are made with that tenant's key.
"""
