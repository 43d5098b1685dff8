"""Dropout in PyTorch draws its mask from a generator of its own, so only the statistics can be compared."""

TWINS = {
    "dropout": "PyTorch's dropout takes no mask and no key; tests/test_random.py checks the kept fraction and the expectation"
}
