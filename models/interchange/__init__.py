"""Models of other makers, translated rather than executed.

A configuration of theirs is read as a description: what it says of grids, grey values, windows and
labels becomes our own configuration, and whatever cannot be said in ours is refused by name. No
code that a model's folder brings or names is loaded.
"""
