"""Desired against actual: what a team needs of the system, set with its undo known.

Everything here may fail halfway, be killed, or meet a system that changed meanwhile; so
every change is written down before it is made, and undone in reverse.
"""
