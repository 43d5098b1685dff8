"""One op = one file (a folder where rival kernels live side by side). Importing this package declares them all."""
