"""Masters of half parameters, the scale of the gradients, and who is launched on. (The CUDA: tests/test_optim_cuda.py.)"""

TESTS = ("tests/test_loss_scaler.py", "tests/test_optim.py", "tests/test_optim_cuda.py", "-k", "not planted")

BUGS: dict[str, list[tuple[str, str]]] = {
    "minidl/optim/loss_scaler.py": [
        ("good_steps = self.good_steps + 1 if finite else 0", "good_steps = self.good_steps + 1"),
        ("            self.scale *= self.backoff_factor\n", "            pass\n"),
        ("self.scale * self.growth_factor, self.most), 0", "self.scale * self.growth_factor, self.most), 1"),
        ("min(self.scale * self.growth_factor, self.most)", "self.scale * self.growth_factor"),
        ("isfinite(g).all() for g in grads])", "isfinite(g).all() for g in grads[:1]])"),
        ("isfinite(g).all() for g in grads]).all()", "isfinite(g).all() for g in grads]).any()"),
        ("xp.isfinite(g)", "(1 - xp.isnan(g))"),
        ("optimizer.step(scale=self.scale)", "optimizer.step()"),
        ("        if finite:\n", "        if True:\n"),
        ("full_like(loss.data, self.scale)", "full_like(loss.data, 1.0)"),
        ("self.scale * self.backoff_factor < LEAST", "self.scale < LEAST / 4"),
        ("        _check(state)\n", ""),
        ("        vars(self).update(state)\n", "        self.scale = state['scale']\n"),
        ('        with np.errstate(over="ignore", invalid="ignore"):\n', "        if True:\n"),
    ],
    "minidl/optim/optimizer.py": [
        ("            w[...] = master\n", "            w[...] = master\n            master[...] = w\n"),
        ("where(master.astype(w.dtype) == w, master, w)", "where(master == w, master, w)"),
        ("            master[...] = xp_of(w).where(master.astype(w.dtype) == w, master, w)\n", "            pass\n"),
        ("g = g.astype(master.dtype, copy=False)\n", "pass\n"),
        ("            cls.source = None  #", "            pass  #"),
        ("g = g * (1 / scale)", "g *= 1 / scale"),
        ("        self.update(master, g,", "        self.update(w, g,"),
        ("*([MASTER] if p.dtype != wide(p.dtype) else [])", "MASTER"),
        ("g.dtype == w.dtype and w.flags.c_contiguous", "w.flags.c_contiguous"),
        ("g.dtype == w.dtype and w.flags.c_contiguous", "g.dtype == w.dtype"),
        ("type(w) is np.ndarray or not (can_launch(w)", "not (can_launch(w)"),
        ("can_launch(w) and self.source.verified", "can_launch(w)"),
        ("xp_of(g).ascontiguousarray(g), state", "g, state"),
        ("return w if w.dtype == wide(w.dtype) else state[MASTER]", "return state.get(MASTER, w)"),
        ("0 < float(scale) < math.inf", "0 <= float(scale) < math.inf"),
    ],
    "minidl/state.py": [("optimizer.slots_of(p, group)", "optimizer.slots(group)")],
    "minidl/optim/sgd.py": [
        ("1.0 if t == 1 else 1 - float", "1 - float"),
        ('int(options["convention"] == "alexnet"), int(options["nesterov"])', '0, int(options["nesterov"])'),
        ("(w.size, 1 / scale, weight_decay, lr)", "(w.size, 1.0, weight_decay, lr)"),
    ],
    "minidl/optim/adam.py": [
        ("float(beta2), 1 - float(beta2))", "float(beta2), 1 - float(beta1))"),
        ('return 0.0, 1 - float(options["lr"])', "return 0.0, 1 - 0.1"),
        ('float(options["eps"]) * unbias', 'float(options["eps"])'),
    ],
}
