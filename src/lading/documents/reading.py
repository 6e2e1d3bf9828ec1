"""YAML files with their line numbers: loading, variables, and validation errors that say where.

YAML 1.2 (``NO`` is a string), one document a file, plain data only. Tags of any other kind, merge keys, duplicate keys
and aliases that expand without measure are refused.
"""
