"""The parts of `python -m benchmarks.gpu_report`, in the order of its steps.

budget.py       how long each step may take             record.py     rows, the JSON file, the Markdown report
ceilings.py     (a) the machine and what it can reach   stopwatch.py  seconds of the device alone
laws.py         (b) the laws, every kernel on the GPU   moved.py, judge.py, optimisers.py, verified.py
tests.py        (c) the tests that need a GPU
curves.py       (d) one seed, two devices
bandwidth.py    (e) kernels that memory holds up
steps.py        (f) whole nets beside PyTorch
convolutions.py (g) single layers beside PyTorch        race.py, layers.py
verdicts.py     (h) what must be reached: reached, missed or owed
"""
