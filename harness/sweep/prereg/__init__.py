"""Preregistration: windows locked before a sweep, hit or miss after it."""
