"""The layers of Alpha-Net: where their options go, and what training changes."""

TESTS = ("tests/test_alpha_batch_norm.py", "tests/test_am_softmax_linear.py", "tests/test_stochastic_pool2d.py")

BUGS: dict[str, list[tuple[str, str]]] = {
    "minidl/nn/normalisation.py": [
        ("alpha: float = 0.5,", "alpha: float = 0.4,"),
        ("epsilon: float = 1e-2,", "epsilon: float = 1e-3,"),
        (
            "num_features, eps, momentum, affine, track_running_stats)",
            "num_features, 1e-5, momentum, affine, track_running_stats)",
        ),
        ("num_features, eps, momentum, affine, track_running_stats)", "num_features, eps, 0.1, affine, track_running_stats)"),
        (
            "num_features, eps, momentum, affine, track_running_stats)",
            "num_features, eps, momentum, True, track_running_stats)",
        ),
        ("num_features, eps, momentum, affine, track_running_stats)", "num_features, eps, momentum, affine)"),
        ('"eps": self.eps, "alpha": self.alpha, "epsilon": self.epsilon}', '"alpha": self.alpha, "epsilon": self.epsilon}'),
        ('"eps": self.eps, "alpha": self.alpha, "epsilon": self.epsilon}', '"eps": self.eps, "epsilon": self.epsilon}'),
        ('"eps": self.eps, "alpha": self.alpha, "epsilon": self.epsilon}', '"eps": self.eps, "alpha": self.alpha}'),
        (
            "return alpha_batch_norm(x, self.weight, self.bias, **attrs)",
            "return alpha_batch_norm(x, self.weight, None, **attrs)",
        ),
        ("return alpha_batch_norm(x, self.weight, self.bias, **attrs)", "return alpha_batch_norm(x, None, self.bias, **attrs)"),
        ("self.running_mean, self.running_var, eps=self.eps)", "self.running_mean, self.running_var)"),
        ("self.bias, alpha=self.alpha, epsilon", "self.bias, epsilon"),
        ("self.bias, alpha=self.alpha, epsilon=self.epsilon)", "self.bias, alpha=self.alpha)"),
        ("signed_power(z, self.weight, self.bias,", "signed_power(z, self.weight,"),
        (
            "    def _by_running_statistics(self, x: Tensor) -> Tensor:\n        z",
            "    def _never(self, x: Tensor) -> Tensor:\n        z",
        ),
        ('alpha={self.alpha}, epsilon={self.epsilon}, " + super', 'alpha={self.alpha}, " + super'),
    ],
    "minidl/nn/losses.py": [
        ("super().__init__(features, classes, s, m)", "super().__init__(features, classes, 30.0, m)"),
        ('{"least": 0, "below": math.pi}', '{"least": 0, "most": 2}'),
        (
            'self.a, self.c = number(self, "a", a, least=0, below=math.inf), number(self, "c", c,',
            'self.a, self.c = number(self, "a", c, least=0, below=math.inf), number(self, "c", a,',
        ),
        ('attrs = {"s": self.s, "m": self.m, "a": self.a, "c": self.c}', 'attrs = {"m": self.m, "a": self.a, "c": self.c}'),
        ('attrs = {"s": self.s, "m": self.m, "a": self.a, "c": self.c}', 'attrs = {"s": self.s, "a": self.a, "c": self.c}'),
        ('attrs = {"s": self.s, "m": self.m, "a": self.a, "c": self.c}', 'attrs = {"s": self.s, "m": self.m, "c": self.c}'),
        ('attrs = {"s": self.s, "m": self.m, "a": self.a, "c": self.c}', 'attrs = {"s": self.s, "m": self.m, "a": self.a}'),
        ("continuous=self.continuous, literal", "literal"),
        ("continuous=self.continuous, literal=self.literal)", "continuous=self.continuous)"),
        ("continuous=self.continuous, literal=self.literal)", "continuous=self.literal, literal=self.continuous)"),
        ("        s: float = 30.0,\n        m: float = 0.35,", "        s: float = 10.0,\n        m: float = 0.35,"),
        ("        s: float = 30.0,\n        m: float = 0.35,", "        s: float = 30.0,\n        m: float = 0.5,"),
        ("        a: float = 1.0,", "        a: float = 2.0,"),
        ("        c: float = 0.0,", "        c: float = 1.0,"),
        ("        continuous: bool = False,", "        continuous: bool = True,"),
        ("        literal: bool = False,", "        literal: bool = True,"),
        ('[super().extra_repr(), f"a={self.a}, c={self.c}", *options]', "[super().extra_repr(), *options]"),
    ],
    "minidl/nn/pooling.py": [
        ("key=key, training=self.training, **self.attrs)", "key=key, **self.attrs)"),
        ("key=key, training=self.training, **self.attrs)", "key=key, training=False, **self.attrs)"),
        ("key=key, training=self.training, **self.attrs)", "training=self.training, **self.attrs)"),
        ("key = keys_for(x, self.training)", "key = keys_for(x, True)"),
        ("key = keys_for(x, self.training)", "key = keys_for(x[:1], self.training).repeat(len(x), 0)"),
        ("stride=stride, padding=padding, ceil_mode=ceil_mode)", "stride=1, padding=padding, ceil_mode=ceil_mode)"),
        ("stride=stride, padding=padding, ceil_mode=ceil_mode)", "stride=stride, padding=0, ceil_mode=ceil_mode)"),
        ("stride=stride, padding=padding, ceil_mode=ceil_mode)", "stride=stride, padding=padding, ceil_mode=False)"),
    ],
}
