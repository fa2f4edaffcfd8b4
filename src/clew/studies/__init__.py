"""Studies: experiments that are run by name, each claim beside its null.

`study.py` is the protocol, `slots.py` and `factors.py` are what prompts and features are measured with; every study has
a file of its own, and `catalogue.py` knows them by name.
"""
