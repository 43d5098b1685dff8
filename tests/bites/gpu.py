"""What stands between a program and a GPU: which words it gets, and what is kept when the GPU is full."""

TESTS = ("tests/test_gpu.py", "tests/test_gpu_doctor.py", "tests/test_full.py")

BUGS: dict[str, list[tuple[str, str]]] = {
    "minidl/gpu.py": [
        ("if driver // 1000 < runtime // 1000:", "if driver < runtime:"),
        ('return "cuda13" if driver >= 13000 else "cuda12"', 'return "cuda13"'),
        ("if int(found) >= OLDEST[extra]:", "if int(found) > OLDEST[extra]:"),
        ("    if not driver:\n", "    if driver is None:\n"),
        ('("cupy", "cupy_backends")', '("cupy",)'),
        ("lines[-1] if lines", "lines[0] if lines"),
        ('older = int(found) >= OLDEST["cuda12"]', "older = True"),
        ("isinstance(error, MemoryError) or any", "any"),
    ],
    "minidl/backend.py": [
        ("    if index >= count:\n", "    if index > count:\n"),
        ('        if getattr(error, "name", "") == "cupy":\n', "        if True:\n"),
        ("(gpu.no_library(module) or gpu.other_float32()) if", "None if"),
        ("(number and not (number.isascii() and number.isdigit()))", "(number and not number.strip('-').isdigit())"),
        ("return Room(free + pool.free_bytes(), free + pool.total_bytes(), total)", "return Room(free, free, total)"),
        ("        cupy().cuda.Device(_cuda_index(device)).use()\n", "        pass\n"),
    ],
    "minidl/arguments.py": [
        ("        if other != device:\n", "        if other != device and i > 1:\n"),
        ('to = other if device == "cpu" else device', "to = device"),
    ],
    "minidl/tensor.py": [
        (
            "        if (there := backend.device_of(value)) != (here := self.device):\n",
            "        there = here = ''\n        if there:\n",
        ),
        ('self._beside(dy, "backward")', "_plain(dy)"),
    ],
    "minidl/full.py": [
        ("NINE_TENTHS = 0.9", "NINE_TENTHS = 1.1"),
        ("if largest >= recipe.batch_size:  #", "if largest > recipe.batch_size:  #"),
        ("            stack.enter_context(threads(None))  # a GPU computes batches whole\n", ""),
        ("op.using(op.default)", "op.using('auto')"),
        ("there.ours", "there.free // 8"),
        ("parts * recipe.accumulate", "recipe.accumulate"),
        ("        if not is_full(error):\n", "        if not isinstance(error, MemoryError):\n"),
    ],
    "minidl/commands/train.py": [
        ('        outcome.write_result(out, "stopped", kept)\n', ""),
        ('" --device cpu" if job.device != "cpu" else ""', '""'),
        ("    except (GpuFull, MemoryError) as error:\n", "    except GpuFull as error:\n"),
    ],
    "minidl/gpu_doctor.py": [
        ("    if len(installed) > 1:\n", "    if len(installed) > 2:\n"),
        ("driver.cuda < OLDEST_DRIVER", "driver.cuda < 11000"),
        ("    if isinstance(driver, Finding):\n        return driver\n", ""),
        ("driver.mig and hidden is None", "driver.mig"),
        ('mig == "Enabled"', "bool(mig)"),
        ("driver.cuda) if isinstance(driver, Driver)", "13000) if isinstance(driver, Driver)"),
        ('("halves", _halves), ', ""),
        (" or gpu.too_old(cupy, 0)", ""),
        ("done.stdout.strip() or done.stderr.strip()", "done.stdout.strip()"),
    ],
}
