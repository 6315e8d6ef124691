"""The model registry: versions, the ledger that moves their aliases, and the rows they may be judged on.

register, promote, decide and monitor use it, and every command about a model.
"""
