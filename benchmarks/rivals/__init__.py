"""The rivals, each made in a process of its own (see benchmarks/worker.py).

minidl_ops.MinidlOps    torch_ops.TorchOps      one op on one workload, phase by phase
minidl_layers.MinidlLayers  torch_layers.TorchLayers  the same on a GPU, in one precision after another (gpu/race.py)
minidl_nets.MinidlNets  torch_nets.TorchNets    training steps of a whole net (training.py)
"""
