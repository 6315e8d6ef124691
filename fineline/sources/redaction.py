"""Credentials in addresses: found, and left out of what is shown."""

import re

CREDENTIALS = re.compile(r"(?<=https://)[^/@]+@|(?<=http://)[^/@]+@|(?<!dvc:)(?<=//)[^/@:]+:[^/@]+@")
"""A password in a URL, or what goes before @ in a web address: many services take a token there."""


def redacted(location: str) -> str:
    """`location` without the credentials that a URL may carry."""
    return CREDENTIALS.sub("***@", location)
