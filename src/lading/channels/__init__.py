"""Kinds of delivery. One file per channel."""
