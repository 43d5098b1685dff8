"""Encodings and the hybrid data set, and the commands that ask for them."""

TESTS = ("tests/test_hybrid.py", "tests/test_encoding.py", "tests/test_bad_input.py")

BUGS: dict[str, list[tuple[str, str]]] = {
    "minidl/data/figures.py": [
        ("0.72 - radius(u - 0.42, v)", "0.72 - radius(u, v)"),
        ("return second - 0.31", "return first - 0.31"),
        ("np.maximum(second, np.minimum(first, d))", "np.maximum(second, np.minimum(second, d))"),
        ("np.float32(0.5) - d / pixel", "np.float32(0.5) - d * pixel"),
        ("a + b - 2 * a * b", "a + b - a * b"),
        ("for step in range(1, T)", "for step in range(T)"),
        ("abs(bar(u, v, 0.56, 0.56)) - 0.14", "bar(u, v, 0.56, 0.56) - 0.14"),
    ],
    "minidl/data/encoding.py": [
        ("NEARLY_LOG = 1e-9", "NEARLY_LOG = 1e-3"),
        ("np.asarray(x + self.e)", "np.asarray(x + E)"),
        ("total /= r * r", "total /= r"),
        ("z[..., i // r :: r, i % r :: r]", "z[..., i % r :: r, i % r :: r]"),
        ("z[..., ::r, ::r].copy()", "z[..., ::r, ::r]"),
        ("for i in range(1, r * r):", "for i in range(r * r):"),
        (
            "        if self.alpha == STRAIGHT:\n            return x\n",
            "        if self.alpha == STRAIGHT:\n            return x + self.e - 1\n",
        ),
        ('_range(images, code) if code.ruler == "range" else', '_range(images, code) if code.ruler == "deviation" else'),
        ("most.astype(np.float64) - least", "most.astype(np.float64)"),
        ("normal = self.encoding(images) - column[0]", "normal = images - column[0]"),
        (
            "return cls(tuple(zero), tuple(np.where(flat, 1, unit)), code)",
            "return cls(tuple(zero), tuple(np.where(flat, 1, unit)))",
        ),
        ("np.concatenate(sums).mean(axis=0)", "np.mean([s.mean(axis=0) for s in sums], axis=0)"),
        ('and (code.alpha, code.ruler) != (STRAIGHT, "deviation")', 'and code.ruler != "deviation"'),
        ("        if not least >= 0:", "        if least < 0:"),
        ('[f"e={self.e!r}"] * (self.e != E)', "[]"),
        ("return size[0] * self.reduce, size[1] * self.reduce", "return size"),
        ("            z *= self.alpha\n", ""),
        ("            z /= self.alpha\n", ""),
        ("np.expm1(z, out=z)", "np.exp(z, out=z); z -= 1"),
    ],
    "minidl/data/dataset.py": [
        ("Normalise.fit(self.train, encoding)", "Normalise.fit(self.test, encoding)"),
        ("Normalise.fit(self.train, encoding)", "Normalise.fit(self.train)"),
    ],
    "minidl/data/optdigits.py": [
        (".encoded(encode)", ".encoded('zscore')"),
    ],
    "minidl/data/folder.py": [
        (".encoded(code)", ".encoded('zscore')"),
    ],
    "minidl/data/hybrid.py": [
        (".encoded(code)", ".encoded('zscore')"),
        ("keys[:, 0] = self.seed", "keys[:, 0] = 0"),
        (" | PARTS.index(part) << 32", ""),
        ("1 << 63 | kind << 34", "1 << 63 | kind << 3"),
        ("1 << 63 | ", ""),
        ("range(rows.start, rows.stop)]", "range(0, rows.stop - rows.start)]"),
        ("self.per_class - 2 * fifth if", "self.per_class - fifth if"),
        ("draw(KINDS[number]", "draw(KINDS[label]"),
        ("drawn = self.classes - len(found) - 1", "drawn = self.classes - len(found)"),
        ("RANDOM_KIND if is_random else number", "number"),
        ('object.__setattr__(self, "real", str(Path(self.real).absolute()))', "pass"),
        ("on_read(done := done + rows.stop - rows.start, total)", "on_read(done := rows.stop - rows.start, total)"),
        ("if part in parts else 0 for part", "for part"),
        ("        self._check_real(real)\n", ""),
        ("        self._check_room(total, kept)\n", ""),
    ],
    "minidl/data/__init__.py": [
        ("    size = code.size_read(size)\n", ""),
        ("limited(limit).encoded(code)", "limited(limit).encoded('zscore')"),
        ("on_read=on_read, encode=code", "on_read=on_read"),
    ],
    "minidl/runs.py": [
        ('data["std"], Encoding.named(data["encode"]))', 'data["std"])'),
        ('setdefault("encode", "zscore")', 'setdefault("encode", "minmax,reduce=2")'),
        ("if noted is None else float(noted)", ""),
    ],
    "minidl/commands/predict.py": [
        ("normalise.encoding.size_read((H, W))", "(H, W)"),
    ],
    "minidl/commands/evaluate.py": [
        (", encode=normalise.encoding)", ")"),
    ],
    "minidl/commands/train.py": [
        ("Encoding.named(args.encode).size_read(model.input_shape[1:])", "model.input_shape[1:]"),
        (", encode=args.encode, quiet", ", quiet"),
        ('            "encode": job.args.encode,\n', ""),
        ("data.brightness(job.splits.train)", "0.5"),
    ],
    "minidl/commands/resume.py": [
        (', "encode": config["data"]["encode"]}', "}"),
        ("            value = full_name(value)\n", "            pass\n"),
        ("not any(map(is_built_in, (value, str(was))))", "True"),
        ('"name": full_name(self.args.data)', '"name": self.args.data'),
    ],
    "minidl/commands/options.py": [
        ("return str(Encoding.named(text))", "Encoding.named(text); return text"),
    ],
    "minidl/data/pictures.py": [
        ("x = sides[0][:, :, None], sides[1][:, None, :]", "x = sides[0][:, :, None], sides[0][:, None, :]"),
        ("cos * x + sin * y, cos * y - sin * x", "cos * x + sin * y, cos * y + sin * x"),
        ("side - 2 * scale if inside", "side if inside"),
        ("for i in range(many)]\n\n\ndef", "for i in range(many)][::-1]\n\n\ndef"),
        ('rungs = np.argsort(u[:, :many], axis=1, kind="stable").astype(np.float32)', "rungs = 0 * u[:, :many]"),
        ("tint - grey[..., None]", "tint + grey[..., None]"),
        ("random_uniforms(keys ^ OF_PIXELS", "random_uniforms(keys"),
        ("np.take(cells, here + 1, axis)", "np.take(cells, here, axis)"),
        ("c = channels if coloured < HALF else 1", "c = channels"),
        ("np.clip(images, 0, 1)", "images"),
        ("scale = np.float32(0.26) + np.float32(0.2)", "scale = np.float32(0.46) + np.float32(0.2)"),
    ],
    "minidl/data/real.py": [
        ("digits(writers=writers)", "digits()"),
        ("parts[part].pixels[mine[part][label][rows]]", "parts['train'].pixels[mine['train'][label][rows]]"),
        ("mine[part][label][rows]]\n        return np.stack", "mine['train'][label][rows]]\n        return np.stack"),
        ("found.note, found.digest())", "found.note)"),
    ],
    "minidl/data/names.py": [
        ("return mixture.real if mixture else name", "return name"),
        ('        return f"hybrid:{mixture}"\n', "        return name\n"),
        ("and bool(colon) == bool(settings) else None", "else None"),
    ],
    "minidl/commands/datasets.py": [
        ("if source != mine and {source, mine} == set(DIGITS):", "if False:"),
        ("if not {source, mine} & WITHOUT_FILES and", "if False and"),
        ("source not in WITHOUT_FILES and not Path(source).exists()", "not is_built_in(own) and not Path(source).exists()"),
    ],
}
