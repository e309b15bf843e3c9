"""Temporary: the owner of this task overwrites this file."""


def make_features(extractor):
    return None
