"""Strays between host and device, planted where one is most easily made."""

TESTS = ("tests/test_crossings.py", "tests/test_crossings_models.py")

BUGS: dict[str, list[tuple[str, str]]] = {
    "minidl/arguments.py": [("if value.ndim else xp.full((), value.item(), dtype=value.dtype)", "")],
    "minidl/nn/dropout.py": [
        ("return blank((len(x), 2), np.uint64, ", "return (lambda *_: np.zeros((len(x), 2), np.uint64))(")
    ],
    "minidl/nn/normalisation.py": [
        ("self.num_batches_tracked.data.astype(np.float64)", "np.float64(self.num_batches_tracked.item())")
    ],
    "minidl/nn/module.py": [(" and not isinstance(tensor, HostBuffer)", "")],
    "minidl/ops/avg_pool2d.py": [("xp.arange(windows.grid[axis])", "xp.asarray(list(range(windows.grid[axis])))")],
    "minidl/optim/optimizer.py": [
        ("                if p.grad is None:\n", "                if p.grad is None or not p.grad.any():\n")
    ],
    "minidl/optim/clip.py": [
        ("        if p == math.inf:\n", "        if p == math.inf or not any(float(part) for part in parts):\n")
    ],
    "minidl/tape.py": [("        source.grad = dx\n", "        source.grad = dx if dx.any() else dx\n")],
    "minidl/tensor.py": [
        (
            "        heap: list[Node] = []\n        hear",
            "        heap: list[Node] = [] if float(dy.sum()) else []\n        hear",
        )
    ],
    "minidl/step.py": [
        ("return loss, right(chosen(self.model, out), labels)", "return loss, int(right(chosen(self.model, out), labels))"),
    ],
    "minidl/train.py": [
        ("            on_batch(now)\n", "            on_batch(now)\n            now.accuracy\n"),
    ],
    "minidl/evaluation.py": [
        ("answers.append(chosen(model, out))", "answers.append(to_numpy(chosen(model, out)))"),
        (
            "return (to_device(answers, device_of(labels)) == labels).sum()",
            "return (to_numpy(answers) == to_numpy(labels)).sum()",
        ),
    ],
    "models/alphanet.py": [("nn.HostBuffer(source", "nn.Buffer(source")],
}
