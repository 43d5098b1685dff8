"""Alpha-Net's claims, measured: the paper's three tables and a comparison with earlier nets, a command each.

python -m benchmarks.experiments structure --quick

claims.py       what the paper prints
plan.py         which nets are trained on what: the rows, the columns, the quick form and the full one
earlier.py      Alpha-Nets as large as the earlier nets
runs.py         one run of the plan, kept in a file; many of them on all cores
differences.py  columns compared, seed by seed, with intervals
tell.py         tables and sentences, made of a result file
picture.py      curves and differences
"""
