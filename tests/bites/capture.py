"""Recorded steps: what must be read anew by each call, and what must be refused."""

TESTS = tuple(f"tests/test_{name}.py" for name in ("capture", "capture_refused", "capture_training", "cuda_recording"))

BUGS: dict[str, list[tuple[str, str]]] = {
    "minidl/capture.py": [
        ("            _array(place)[...] = _array(given)\n", "            pass\n"),
        ("        if n := len(self.keys):\n", "        if n := 0:\n"),
        ("            self.keys[:, 0] = np.uint64(seed)\n", ""),
        ("arange(first, first + n, dtype=np.uint64)", "arange(first + 1, first + n + 1, dtype=np.uint64)"),
        ("            p.grad = grad\n", "            pass\n"),
        ("        self.launch()\n", ""),
        ("return self._dealt[first : self.position]", "return self._dealt[:n]"),
        ("return _Dealt(self._dealt, self.position)", "return _Dealt(self._dealt)"),
        ("_array(a).strides, ", ""),
        ("places = tuple(_copied(a) for a in args)", "places = args"),
        ("training = tuple(m.training for m in self._modules)", "training = ()"),
        ("tuple(m.training for m in self._modules)", "tuple(m.training for m in self._modules[:1])"),
        ("shapes, modes(), training", "shapes, modes().precision, training"),
        ("if self._recorder and (there := device_of(array)) != (here := device_of(self._first())):", "if False:"),
        ("if not isinstance(error, RuntimeError) or is_full(error):", "if not isinstance(error, RuntimeError):"),
        ("host, tuple(p.requires_grad for p in self._parameters)", "host"),
        ("training, host, tuple", "training, tuple"),
        ("a is not b for a, b in zip(places, self._places, strict=True)", "False for _ in places"),
        ("self._tensors = [*self._parameters, *model.buffers()]", "self._tensors = [*self._parameters]"),
        ("            if dealt.position != drawn:\n", "            if dealt.position > drawn:\n"),
        ("        if self.position > len(self._dealt):\n", "        if False:\n"),
        ("        if anomaly_mode():\n", "        if False:\n"),
        ("                if len(self._known) < MOST:\n", "                if True:\n"),
        ("or (isinstance(value, Tensor) and value.requires_grad):", "or False:"),
        ("        self._forget_gradients()\n        return", "        return"),
        ("            self._forget_gradients()  # no launch has filled them\n", ""),
        ("        with own_products():\n", "        if True:\n"),
        ("with recording(), using_stream(dealt):", "with using_stream(dealt):"),
        ("with recording(), using_stream(dealt):", "with recording():"),
        ('        raise RuntimeError("it draws on the host (stream().generator())")\n', "        return super().generator()\n"),
    ],
    "minidl/cuda/recording.py": [
        ("Stream(non_blocking=True)", "Stream()"),
        (
            "with _nothing_dies(), _no_copies(), cuda.using_allocator(self._pool.malloc), self._stream:",
            "with _nothing_dies(), _no_copies(), self._stream:",
        ),
        ("                with suppress(cuda.runtime.CUDARuntimeError):", "                if True:"),
        (
            "                    self._stream.end_capture()\n                raise",
            "                    pass\n                raise",
        ),
        ("    except cuda.runtime.CUDARuntimeError as error:\n", "    except ZeroDivisionError as error:\n"),
        ("        cupy().get_default_memory_pool().free_all_blocks()\n", ""),
        ("    gc.disable()\n", ""),
        ("_nothing_dies(), _no_copies(), cuda", "_nothing_dies(), cuda"),
        ("        cupy().cuda.set_pinned_memory_allocator(cupy().get_default_pinned_memory_pool().malloc)\n", "        pass\n"),
        ("        if collecting:\n", "        if True:\n"),
    ],
    "minidl/recompute.py": [
        ("start = stream().fork()", "start = stream()"),
        ("using_stream(self.stream.fork())", "using_stream(Stream(0, self.stream.position))"),
    ],
    "minidl/optim/optimizer.py": [("        if is_recording():\n", "        if False:\n")],
    "minidl/step.py": [
        ("capture(self._gradients, model) if recipe.capture else self._gradients", "self._gradients"),
    ],
}
