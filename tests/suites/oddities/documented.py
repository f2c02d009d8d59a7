"""A module with doctests.

>>> 1 + 1
2
"""


def good():
    """
    >>> good()
    'good'
    """
    return "good"


def bad():
    """
    >>> bad()
    'good'
    """
    return "bad"


def raising():
    """
    >>> raising()
    """
    raise RuntimeError("in a doctest")


def skipped():
    """
    >>> skipped()  # doctest: +SKIP
    'never'
    """


class Holder:
    """
    >>> Holder().value
    1
    """

    value = 1
